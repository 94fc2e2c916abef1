"""Routes of the OpenAPI document and of the page that shows it. Both work offline."""

import asyncio
from functools import cache
from importlib.resources import files

from kingpost.http.app import compression
from kingpost.http.app.answers import HTML, HTML_UTF_8, JSON, PUBLIC, Answer
from kingpost.http.app.call import Call
from kingpost.http.app.media_types import Encoding, accepted_encoding
from kingpost.http.app.operations import OPERATIONS
from kingpost.http.app.router import Route, Who
from kingpost.http.openapi.published import PublishedDocument
from kingpost.problems import NotFound

DOCS_CSP = (
    b"content-security-policy",
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
)
ASSETS = {
    "docs.js": "text/javascript; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}


async def openapi(call: Call, document: PublishedDocument) -> Answer:
    encoding = accepted_encoding(call.header(b"accept-encoding"))
    return _ready(await document.encoded(encoding), encoding, JSON)


async def docs(call: Call, document: PublishedDocument) -> Answer:
    return Answer(200, _file("docs.html"), [PUBLIC], HTML_UTF_8, DOCS_CSP)


async def docs_asset(call: Call, document: PublishedDocument) -> Answer:
    name = call.path["asset"]
    if name not in ASSETS:
        raise NotFound()
    encoding = accepted_encoding(call.header(b"accept-encoding"))
    content = _file(name) if encoding is None else await asyncio.to_thread(_compressed_file, name, encoding)
    return _ready(content, encoding, ASSETS[name])


def _ready(content: bytes, encoding: Encoding | None, media_type: str) -> Answer:
    """Return a response whose content has the content coding already."""
    return Answer(200, content, [PUBLIC, *([(b"content-encoding", encoding.encode())] if encoding else [])], media_type)


@cache
def _file(name: str) -> bytes:
    return files("kingpost.http.openapi").joinpath("swagger_ui", name).read_bytes()


@cache
def _compressed_file(name: str, encoding: Encoding) -> bytes:
    # Swagger UI is large and never changes, so compress it once.
    return compression.encode(encoding, _file(name))


ROUTES: tuple[Route[PublishedDocument], ...] = (
    Route(
        method="GET",
        path="/openapi.json",
        handler=openapi,
        who=Who.ANYONE,
        tag=OPERATIONS,
        summary="Get the OpenAPI document",
        is_hidden=True,
    ),
    Route(
        method="GET",
        path="/docs",
        handler=docs,
        who=Who.ANYONE,
        tag=OPERATIONS,
        media_type=HTML,
        summary="Get the interactive documentation",
        is_hidden=True,
    ),
    Route(
        method="GET",
        path="/docs/{asset}",
        handler=docs_asset,
        who=Who.ANYONE,
        tag=OPERATIONS,
        media_type="*/*",
        summary="Get a script or style sheet of the documentation",
        is_hidden=True,
    ),
)
