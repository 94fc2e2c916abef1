"""What operators and developers ask: health, the documents, the pages."""

import asyncio
from functools import cache
from importlib.resources import files

from kingpost.http.app import compression
from kingpost.http.app.call import NO_STORE, Answer, Call, answer
from kingpost.http.app.media_types import Encoding, accepted_encoding
from kingpost.http.app.problems import problem_page
from kingpost.http.app.schemas import Health
from kingpost.problems import CATALOGUE, NotFound, Unavailable

HTML = "text/html"
HTML_UTF_8 = "text/html; charset=utf-8"
PUBLIC = (b"cache-control", b"public, max-age=300")
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


async def live(call: Call) -> Answer:
    return answer(Health("ok"), NO_STORE)


async def ready(call: Call) -> Answer:
    if call.features.health.is_draining:
        raise Unavailable("The server is shutting down")
    await call.features.storage.ping()
    return answer(Health("ok"), NO_STORE)


async def openapi(call: Call) -> Answer:
    return Answer(200, call.features.openapi(), [PUBLIC])


async def docs(call: Call) -> Answer:
    return Answer(200, _file("docs.html"), [PUBLIC], HTML_UTF_8, DOCS_CSP)


async def docs_asset(call: Call) -> Answer:
    name = call.path["asset"]
    if name not in ASSETS:
        raise NotFound()
    encoding = accepted_encoding(call.header(b"accept-encoding"))
    if encoding is None:
        return Answer(200, _file(name), [PUBLIC], ASSETS[name])
    content = await asyncio.to_thread(_compressed_file, name, encoding)
    return Answer(200, content, [PUBLIC, (b"content-encoding", encoding.encode())], ASSETS[name])


async def problem(call: Call) -> Answer:
    kind = CATALOGUE.get(call.path["slug"])
    if kind is None:
        raise NotFound()
    return Answer(200, problem_page(kind), [PUBLIC], HTML_UTF_8)


@cache
def _file(name: str) -> bytes:
    return files("kingpost.http.openapi").joinpath("swagger_ui", name).read_bytes()


@cache
def _compressed_file(name: str, encoding: Encoding) -> bytes:
    # Swagger UI is large, and never changes: it is compressed once, not for every reader.
    return compression.encode(encoding, _file(name))
