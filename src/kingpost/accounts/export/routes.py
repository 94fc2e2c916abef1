"""The export of an account over HTTP."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from kingpost import clock
from kingpost.accounts.export.schemas import account_export
from kingpost.accounts.export.service import AccountExport, Exports
from kingpost.accounts.users.schemas import UserBody
from kingpost.http.app.answers import PRIVATE, Answer, StreamedAnswer
from kingpost.http.app.call import Call
from kingpost.http.app.router import Route, Who
from kingpost.problems import Forbidden, NotFound
from kingpost.tags import USERS


async def export_user(call: Call, exports: Exports) -> Answer:
    user_id = call.path["id"]
    export = await exports.export(call.context, user_id)
    attachment = (b"content-disposition", f'attachment; filename="account-{user_id}.json"'.encode())
    return StreamedAnswer(_document(export), [PRIVATE, attachment])


async def _document(export: AccountExport) -> AsyncGenerator[bytes]:
    """One JSON object, written member by member."""
    head = {"exported_at": clock.now(), "user": UserBody.of(export.user), **export.rooms}
    yield msgspec.json.encode(head).removesuffix(b"}") + b',"audit":['
    async for part in _items(export.audit):
        yield part
    yield b'],"resources":['
    async for part in _items(export.resources):
        yield part
    yield b"]}"


async def _items(pages: AsyncIterator[Sequence[Any]]) -> AsyncGenerator[bytes]:
    """What stands between the brackets of a list."""
    separator = b""
    async for page in pages:
        if page:
            yield separator + msgspec.json.encode(page)[1:-1]
            separator = b","


def routes(rooms: Mapping[str, Any]) -> tuple[Route[Exports], ...]:
    """Return the routes. `rooms` are the fields for what each room stores about an account, with their types."""
    return (
        Route(
            method="GET",
            path="/api/users/{id}/export",
            handler=export_user,
            who=Who.CALLER,
            scope="users:read",
            tag=USERS,
            summary="Take along everything that is kept about an account",
            description="With an API key this needs the scope `resources:read` as well.",
            result=account_export(rooms),
            headers=("Content-Disposition",),
            problems=(Forbidden, NotFound),
        ),
    )
