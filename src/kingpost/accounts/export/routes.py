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
    is_owner = call.caller.user_id == user_id
    return StreamedAnswer(_document(export, for_owner=is_owner), [PRIVATE, attachment])


async def _document(export: AccountExport, *, for_owner: bool) -> AsyncGenerator[bytes]:
    """Yield the export as one JSON object, piece by piece."""
    now = clock.now()
    user = UserBody.of(export.user.as_of(now), for_owner=for_owner)
    head = {"exported_at": now, "user": user, **export.records}
    yield msgspec.json.encode(head).removesuffix(b"}") + b',"audit":['
    async for chunk in _items(export.audit):
        yield chunk
    yield b'],"resources":['
    async for chunk in _items(export.resources):
        yield chunk
    yield b"]}"


async def _items(pages: AsyncIterator[Sequence[Any]]) -> AsyncGenerator[bytes]:
    """Yield the items of a JSON array, without its brackets. An empty page becomes an empty chunk."""
    separator = b""
    async for page in pages:
        yield separator + msgspec.json.encode(page)[1:-1] if page else b""
        separator = b"," if page else separator


def routes(record_types: Mapping[str, Any]) -> tuple[Route[Exports], ...]:
    """Return the routes. `record_types` are the types of the fields that the features add to an export, by name."""
    return (
        Route(
            method="GET",
            path="/api/users/{id}/export",
            handler=export_user,
            who=Who.CALLER,
            scopes=("users:read",),
            tag=USERS,
            summary="Export all data stored about an account",
            description="An API key also needs the scope `resources:read`.",
            result=account_export(record_types),
            headers=("Content-Disposition",),
            problems=(Forbidden, NotFound),
        ),
    )
