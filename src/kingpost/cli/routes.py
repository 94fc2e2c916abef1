"""`kingpost routes`."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec

from kingpost.cli import output
from kingpost.http.app.router import Route, Who
from kingpost.http.openapi.document import public_path
from kingpost.main import ROUTES

CALLERS: Mapping[Who, str] = {
    Who.ANYONE: "anyone",
    Who.ANYONE_OR_CALLER: "optional",
    Who.ANYONE_MAYBE_CALLER: "optional",
    Who.CALLER: "caller",
    Who.ADMIN: "admin",
}
HEADINGS = ("method", "path", "who", "scope", "handler")
PAGE = """\
# Routes

Every route of the server. This page is made from the code by
`python3 dev.py kingpost routes --markdown > docs/routes.md`, and a test compares the two.

*Who* may call a route: `anyone` (credentials are ignored), `optional` (the handler decides whether an access token is
needed, and what it allows), `caller` (needs an access token) or `admin` (needs the access token of an administrator).
*Scope* is the scope that an API key needs, or several of which it needs one; a route without a scope does not accept
API keys. A `GET` route answers `HEAD` too. Paths below `/api/v1/` are served below `/api/` as well.

"""


class RouteSummary(msgspec.Struct, frozen=True):
    """The columns of a route."""

    method: str
    path: str
    who: str
    scope: str | None
    handler: str


@click.command()
@output.as_json
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the page docs/routes.md.")
def routes(as_json: bool, as_markdown: bool) -> None:
    """List all routes with their callers, scopes and handlers."""
    summaries = [_summary(route) for route in ROUTES]
    if as_json:
        output.echo_json({"items": summaries})
    elif as_markdown:
        click.echo(markdown(), nl=False)
    else:
        output.echo_table([_cells(summary) for summary in summaries], *HEADINGS)


def markdown() -> str:
    """Return the page `docs/routes.md`."""
    header = [f"| {' | '.join(HEADINGS)} |", f"|{'---|' * len(HEADINGS)}"]
    rows = [_markdown_row(_summary(route)) for route in ROUTES]
    return PAGE + "\n".join([*header, *rows]) + "\n"


def _summary(route: Route[Any]) -> RouteSummary:
    handler = f"{route.handler.__module__}.{route.handler.__qualname__}"
    return RouteSummary(route.method, public_path(route), CALLERS[route.who], ",".join(route.scopes) or None, handler)


def _cells(summary: RouteSummary) -> Sequence[str]:
    return summary.method, summary.path, summary.who, summary.scope or "-", summary.handler


def _markdown_row(summary: RouteSummary) -> str:
    scope = f"`{summary.scope}`" if summary.scope else ""
    return f"| {summary.method} | `{summary.path}` | {summary.who} | {scope} | `{summary.handler}` |"
