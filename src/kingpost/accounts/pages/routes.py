"""The web pages that links in mail open.

Each shows one button, and only pressing the button uses the token of the link. Loading the page must not use it,
because mail filters fetch links, and some even render the pages. The page of an address says who asked for the link.
"""

from functools import cache
from importlib.resources import files

import msgspec

from kingpost.accounts.pages.asked import AskedFor
from kingpost.http.app.answers import HTML, HTML_UTF_8, NO_STORE, PUBLIC, Answer
from kingpost.http.app.call import Call
from kingpost.http.app.operations import OPERATIONS
from kingpost.http.app.router import Route, Who
from kingpost.problems import NotFound


class LinkQuery(msgspec.Struct, frozen=True):
    """The query of a link. Mail providers append parameters of their own, which are passed over."""

    token: str | None = None


CSP = (
    b"content-security-policy",
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
)
ASKED = b"<!-- who asked for the link -->"
"""The place in a page where a description of who asked for its link goes."""
ASSETS = {
    "icon.svg": "image/svg+xml",
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
}


async def verify_email(call: Call, asked_for: AskedFor) -> Answer:
    query: LinkQuery = call.query
    description = await asked_for.describe(query.token)
    return Answer(200, _file("verify.html").replace(ASKED, description.encode()), [NO_STORE], HTML_UTF_8, CSP)


async def reset_password(call: Call, _: AskedFor) -> Answer:
    return Answer(200, _file("reset.html"), [NO_STORE], HTML_UTF_8, CSP)


async def stop_email_change(call: Call, _: AskedFor) -> Answer:
    return Answer(200, _file("stop.html"), [NO_STORE], HTML_UTF_8, CSP)


async def asset(call: Call, _: AskedFor) -> Answer:
    name = call.path["asset"]
    if name not in ASSETS:
        raise NotFound()
    return Answer(200, _file(name), [PUBLIC], ASSETS[name])


@cache
def _file(name: str) -> bytes:
    return files("kingpost.accounts.pages").joinpath("files", name).read_bytes()


ROUTES: tuple[Route[AskedFor], ...] = (
    Route(
        method="GET",
        path="/email/verify",
        handler=verify_email,
        who=Who.ANYONE,
        tag=OPERATIONS,
        summary="The page to confirm an address",
        query=LinkQuery,
        media_type=HTML,
        is_hidden=True,
    ),
    Route(
        method="GET",
        path="/password/reset",
        handler=reset_password,
        who=Who.ANYONE,
        tag=OPERATIONS,
        summary="The page to choose a new password",
        query=LinkQuery,
        media_type=HTML,
        is_hidden=True,
    ),
    Route(
        method="GET",
        path="/email/stop",
        handler=stop_email_change,
        who=Who.ANYONE,
        tag=OPERATIONS,
        summary="The page to stop a change of address",
        query=LinkQuery,
        media_type=HTML,
        is_hidden=True,
    ),
    Route(
        method="GET",
        path="/mail/{asset}",
        handler=asset,
        who=Who.ANYONE,
        tag=OPERATIONS,
        media_type="*/*",
        summary="Static files of these pages",
        is_hidden=True,
    ),
)
