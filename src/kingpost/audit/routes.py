"""The audit log over HTTP."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import cast

import msgspec

from kingpost import clock
from kingpost.audit.schemas import AuditEntryBody, AuditExportQuery, AuditList, AuditQuery
from kingpost.audit.service import AuditFilter, AuditLog
from kingpost.audit.store import AuditListing
from kingpost.http.app.answers import PRIVATE, Answer, StreamedAnswer, answer
from kingpost.http.app.call import Call
from kingpost.http.app.pages import listing, next_page
from kingpost.http.app.router import Route, Tag, Who
from kingpost.model import AuditEntry
from kingpost.problems import Fault, InvalidRequest

AUDIT_LOG = Tag("Audit log", "Records of security-relevant actions. For administrators.", place=60)
NDJSON = "application/x-ndjson"
ATTACHMENT = (b"content-disposition", b'attachment; filename="audit.ndjson"')

_encode_lines = msgspec.json.Encoder().encode_lines


async def list_audit(call: Call, audit_log: AuditLog) -> Answer:
    entry_filter = _filter(call.query)
    page_request, binding = listing(call)
    fields = msgspec.structs.asdict(page_request) | msgspec.structs.asdict(entry_filter)
    page = await audit_log.list(AuditListing(**fields))
    cursor, headers = next_page(call, page.next, binding)
    total = msgspec.UNSET if page.total is None else page.total
    return answer(AuditList(cast(list[AuditEntryBody], page.items), cursor, total), PRIVATE, *headers)


async def export_audit(call: Call, audit_log: AuditLog) -> Answer:
    pages = await audit_log.export(call.context, _filter(call.query))
    return StreamedAnswer(_lines(pages), [PRIVATE, ATTACHMENT], NDJSON)


async def _lines(pages: AsyncIterator[Sequence[AuditEntry]]) -> AsyncGenerator[bytes]:
    async for entries in pages:
        yield _encode_lines(entries)


def _filter(query: AuditQuery | AuditExportQuery) -> AuditFilter:
    times: dict[str, str | None] = {}
    faults = []
    for name in ("since", "until"):
        text: str | None = getattr(query, name)
        try:
            # A query string decodes an unescaped plus sign of an offset to a space.
            times[name] = None if text is None else clock.read(text[:11] + text[11:].replace(" ", "+"))
        except ValueError:
            faults.append(Fault("This must be an RFC 3339 time, such as 2026-11-22T10:15:30Z", "time", parameter=name))
    if faults:
        raise InvalidRequest.of(*faults)
    return AuditFilter(query.actor, query.target, query.action, **times)


ROUTES: tuple[Route[AuditLog], ...] = (
    Route(
        method="GET",
        path="/api/audit",
        handler=list_audit,
        who=Who.ADMIN,
        scopes=("audit:read",),
        tag=AUDIT_LOG,
        summary="Read the audit log",
        query=AuditQuery,
        result=AuditList,
        headers=("Link",),
    ),
    Route(
        method="GET",
        path="/api/audit/export",
        handler=export_audit,
        who=Who.ADMIN,
        scopes=("audit:read",),
        tag=AUDIT_LOG,
        summary="Export the audit log",
        description="Returns one entry per line, oldest first, up to the time of the request. If the connection is "
        "reset, the file is incomplete: request it again.",
        query=AuditExportQuery,
        result=AuditEntryBody,
        media_type=NDJSON,
        headers=("Content-Disposition",),
    ),
)
