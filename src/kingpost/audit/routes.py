"""The audit log on the wire."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import cast

import msgspec

from kingpost import clock
from kingpost.audit.schemas import AuditEntryBody, AuditExportQuery, AuditList, AuditQuery
from kingpost.audit.service import AuditFilter
from kingpost.http.app.call import PRIVATE, Answer, Call, StreamedAnswer, answer
from kingpost.http.app.pages import listing, next_page
from kingpost.model import AuditEntry
from kingpost.problems import Fault, InvalidRequest
from kingpost.storage.audit import AuditListing

NDJSON = "application/x-ndjson"
ATTACHMENT = (b"content-disposition", b'attachment; filename="audit.ndjson"')

_encode_lines = msgspec.json.Encoder().encode_lines


async def list_audit(call: Call) -> Answer:
    wanted = _wanted(call.query)
    part, binding = listing(call)
    page = await call.features.audit_log.list(
        AuditListing(**msgspec.structs.asdict(part) | msgspec.structs.asdict(wanted))
    )
    cursor, headers = next_page(call, page.next, binding)
    total = msgspec.UNSET if page.total is None else page.total
    return answer(AuditList(cast(list[AuditEntryBody], page.items), cursor, total), PRIVATE, *headers)


async def export_audit(call: Call) -> Answer:
    pages = await call.features.audit_log.export(call.caller, _wanted(call.query), call.origin)
    return StreamedAnswer(_lines(pages), [PRIVATE, ATTACHMENT], NDJSON)


async def _lines(pages: AsyncIterator[Sequence[AuditEntry]]) -> AsyncGenerator[bytes]:
    async for entries in pages:
        yield _encode_lines(entries)


def _wanted(query: AuditQuery | AuditExportQuery) -> AuditFilter:
    times: dict[str, str | None] = {}
    faults = []
    for name in ("since", "until"):
        text: str | None = getattr(query, name)
        try:
            # A plus sign that was not encoded arrives as a space.
            times[name] = None if text is None else clock.read(text[:11] + text[11:].replace(" ", "+"))
        except ValueError:
            faults.append(Fault("This is not a time in the form of RFC 3339", "time", parameter=name))
    if faults:
        raise InvalidRequest.of(*faults)
    return AuditFilter(query.actor, query.target, query.action, **times)
