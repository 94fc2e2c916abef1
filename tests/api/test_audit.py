"""The audit log over HTTP: the list, the export, and their formats."""

import asyncio
import gzip
import json
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import zstandard

from kingpost import clock
from kingpost.main import ROUTES
from kingpost.model import AuditEntry
from tests.api.stack import ADDRESS, UNKNOWN_ID, Caller, Stack, assert_problem, faults_of, next_link
from tests.storage.samples import raw

AUDIT = "/api/v1/audit"
EXPORT = "/api/v1/audit/export"
FIELDS = {
    "id",
    "created_at",
    "actor_type",
    "actor_id",
    "action",
    "target_type",
    "target_id",
    "address",
    "request_id",
    "details",
}

type Item = dict[str, Any]


async def fetch(admin: Caller, path: str = AUDIT, **query: Any) -> Any:
    response = await admin.http.get(path, params=query)
    assert response.status_code == 200, response.text
    return response.json()


def lines(response: httpx.Response) -> list[Item]:
    assert response.status_code == 200, response.text
    assert response.content.endswith(b"\n") or not response.content
    return [json.loads(line) for line in response.content.splitlines()]


async def add(stack: Stack, count: int, target_id: str, action: str = "user.changed") -> list[AuditEntry]:
    """Add entries about a target, each in a different millisecond if there are fewer than 20."""
    entries = []
    for n in range(count):
        entry_id, now = clock.new_id()
        details = raw({"n": n})
        entries.append(AuditEntry(entry_id, now, "user", None, action, "user", target_id, "192.0.2.1", "r", details))
        if count < 20:
            await asyncio.sleep(0.002)
    await stack.kingpost.stores.audit.add(*entries)
    return entries


# --- the list ------------------------------------------------------------------------------------


async def test_an_entry_has_actor_action_target_time_and_address(stack: Stack, admin: Caller) -> None:
    user = await stack.sign_up()
    changed = await user.http.patch(f"/api/v1/users/{user.id}", json={"name": "Ada"}, headers={"X-Request-ID": "mine"})
    assert changed.status_code == 200
    page = await fetch(admin, target=user.id, action="user.changed")
    assert page.keys() == {"items", "next_cursor"}
    (entry,) = page["items"]
    assert entry.keys() == FIELDS
    assert entry["actor_type"] == "user"
    assert entry["actor_id"] == entry["target_id"] == user.id
    assert entry["target_type"] == "user"
    assert entry["address"] == ADDRESS
    assert entry["request_id"] == "mine"
    assert entry["details"] == {"fields": ["name"]}
    assert entry["created_at"] <= clock.now()


async def test_the_list_is_limited_and_newest_first_by_default(stack: Stack, admin: Caller) -> None:
    target = clock.unique()
    ids = [entry.id for entry in await add(stack, 25, target)]
    page = await fetch(admin, target=target)
    assert [entry["id"] for entry in page["items"]] == ids[:-21:-1]
    for sort in ("created_at", "id", "created_at,id"):
        page = await fetch(admin, target=target, sort=sort, limit=3)
        assert [entry["id"] for entry in page["items"]] == ids[:3]
    page = await fetch(admin, target=target, page=3, limit=10, count="exact")
    assert [entry["id"] for entry in page["items"]] == ids[4::-1]
    assert page["total"] == 25


async def test_filters_are_combined(stack: Stack, admin: Caller) -> None:
    user, other = await stack.sign_up(), await stack.sign_up()
    for caller, name in ((user, "Ada"), (admin, "Countess")):
        await caller.http.patch(f"/api/v1/users/{user.id}", json={"name": name})
    await admin.http.patch(f"/api/v1/users/{other.id}", json={"name": "Bob"})

    async def found(**query: Any) -> list[tuple[str, str]]:
        items = (await fetch(admin, **query, action="user.changed", sort="id"))["items"]
        return [(entry["actor_id"], entry["target_id"]) for entry in items]

    assert await found(target=user.id) == [(user.id, user.id), (admin.id, user.id)]
    assert await found(actor=user.id) == [(user.id, user.id)]
    assert await found(actor=admin.id, target=user.id) == [(admin.id, user.id)]
    assert await found(actor=user.id, target=other.id) == []
    assert await found(actor=UNKNOWN_ID) == []


async def test_times_are_accepted_with_any_utc_offset(stack: Stack, admin: Caller) -> None:
    target = clock.unique()
    entries = await add(stack, 3, target)
    moment = entries[1].created_at
    with_offset = datetime.fromisoformat(moment).astimezone(timezone(timedelta(hours=1))).isoformat()

    async def count(**query: str) -> int:
        return int((await fetch(admin, target=target, count="exact", **query))["total"])

    for spelling in (moment, moment.lower(), moment.replace("T", " "), with_offset, moment.replace("Z", "-00:00")):
        assert await count(since=spelling) == 2, spelling
        assert await count(until=spelling) == 1, spelling
    # Between two milliseconds: an entry of the first millisecond is earlier.
    between = moment.replace("Z", "5Z")
    assert (await count(since=between), await count(until=between)) == (1, 2)
    # With an unencoded plus sign, as a shell sends it.
    response = await admin.http.get(f"{AUDIT}?target={target}&since={with_offset}")
    assert len(response.json()["items"]) == 2
    response = await admin.http.get(f"{AUDIT}?target={target}&since={quote(with_offset)}")
    assert len(response.json()["items"]) == 2


@pytest.mark.parametrize("path", [AUDIT, EXPORT])
async def test_invalid_query_parameters_are_named(admin: Caller, path: str) -> None:
    wrong = {"actor": "me", "target": "x", "action": "user.exploded"}
    assert faults_of(await admin.http.get(path, params=wrong)) == ["action", "actor", "target"]
    for text in ("yesterday", "1700000000", "2026-11-22", "2026-11-22T10:00:00", "2026-02-30T10:00:00Z", "9" * 65, ""):
        assert faults_of(await admin.http.get(path, params={"since": text})) == ["since"], text
    both = {"since": "0001-01-01T00:00:00+01:00", "until": "never"}
    assert faults_of(await admin.http.get(path, params=both)) == ["since", "until"]
    assert faults_of(await admin.http.get(path, params={"who": "me"})) == ["who"]


async def test_only_the_list_is_paginated_and_sortable(admin: Caller) -> None:
    assert faults_of(await admin.http.get(EXPORT, params={"limit": "1", "cursor": "x"})) == ["cursor", "limit"]
    for sort in ("actor_id", "address", "details"):
        assert faults_of(await admin.http.get(AUDIT, params={"sort": sort})) == ["sort"]


async def test_link_headers_page_through_the_log_while_it_grows(stack: Stack, admin: Caller) -> None:
    target = clock.unique()
    ids = [entry.id for entry in await add(stack, 9, target)]
    since = quote("2026-01-01T00:00:00+02:00")
    url: str | None = f"{AUDIT}?target={target}&since={since}&limit=2&count=exact"
    seen = []
    while url:
        response = await admin.http.get(url)
        assert response.headers["cache-control"].startswith("private")
        seen += [entry["id"] for entry in response.json()["items"]]
        url = next_link(response)
        await add(stack, 1, target)
    assert seen == ids[::-1]


async def test_a_cursor_is_valid_only_for_its_own_query(stack: Stack, admin: Caller) -> None:
    target = clock.unique()
    await add(stack, 3, target)
    cursor = (await fetch(admin, target=target, limit=1))["next_cursor"]
    for other in (
        {},
        {"target": UNKNOWN_ID},
        {"target": target, "action": "user.changed"},
        {"target": target, "sort": "id"},
    ):
        assert faults_of(await admin.http.get(AUDIT, params={**other, "cursor": cursor})) == ["cursor"]


async def test_only_administrators_and_keys_with_the_audit_scope_read_the_log(stack: Stack, alice: Caller) -> None:
    for path in (AUDIT, EXPORT):
        assert_problem(await stack.client().get(path), 401, "unauthenticated")
        assert_problem(await alice.http.get(path), 403, "forbidden")
    assert {route.scopes for route in ROUTES if route.path.startswith("/api/audit")} == {("audit:read",)}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST"])
async def test_the_log_has_no_write_methods(admin: Caller, method: str) -> None:
    assert_problem(await admin.http.request(method, AUDIT), 405, "method-not-allowed")


# --- the export ----------------------------------------------------------------------------------


async def test_an_export_has_one_entry_per_line_oldest_first(stack: Stack, admin: Caller) -> None:
    target = clock.unique()
    entries = await add(stack, 450, target)
    response = await admin.http.get(EXPORT, params={"target": target})
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.headers["content-disposition"] == 'attachment; filename="audit.ndjson"'
    assert "content-length" not in response.headers
    found = lines(response)
    assert [entry["id"] for entry in found] == [entry.id for entry in entries]
    assert [entry["details"] for entry in found] == [{"n": n} for n in range(450)]
    assert found[0].keys() == FIELDS
    assert found[:100] == (await fetch(admin, target=target, sort="id", limit=100))["items"]


async def test_an_export_accepts_the_filters_of_the_list(stack: Stack, admin: Caller) -> None:
    target = clock.unique()
    entries = await add(stack, 6, target)
    query = {"target": target, "since": entries[1].created_at, "until": entries[4].created_at, "action": "user.changed"}
    found = lines(await admin.http.get(EXPORT, params=query))
    assert [entry["details"]["n"] for entry in found] == [1, 2, 3]
    assert lines(await admin.http.get(EXPORT, params=query | {"action": "user.created"})) == []
    assert lines(await admin.http.get(EXPORT, params=query | {"actor": UNKNOWN_ID})) == []


async def test_an_export_of_the_log_is_audited(stack: Stack, admin: Caller) -> None:
    target = clock.unique()
    headers = {"X-Request-ID": f"export-{target}"}
    everything = lines(await admin.http.get(EXPORT, headers=headers, params={"target": target}))
    assert everything == []
    entries = (await fetch(admin, actor=admin.id, action="audit.exported"))["items"]
    (entry,) = [entry for entry in entries if entry["request_id"] == headers["X-Request-ID"]]
    assert (entry["target_type"], entry["target_id"]) == ("audit_log", None)
    assert entry["details"] == {"filter": {"target_id": target}}
    # An export ends at its start time: its own entry is not in it, but in the next export.
    ids = {entry["id"] for entry in lines(await admin.http.get(EXPORT, params={"action": "audit.exported"}))}
    assert entry["id"] in ids


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_an_export_is_compressed_if_the_client_accepts_it(stack: Stack, admin: Caller, encoding: str) -> None:
    target = clock.unique()
    await add(stack, 450, target)
    async with admin.http.stream(
        "GET", EXPORT, params={"target": target}, headers={"Accept-Encoding": encoding}
    ) as response:
        assert response.headers["content-encoding"] == encoding
        content = b"".join([part async for part in response.aiter_raw()])
    text = (
        gzip.decompress(content)
        if encoding == "gzip"
        else zstandard.ZstdDecompressor().decompressobj().decompress(content)
    )
    assert len(content) < len(text) / 3
    assert [json.loads(line)["details"]["n"] for line in text.splitlines()] == list(range(450))


async def test_a_head_request_for_an_export_returns_the_headers_without_a_body(admin: Caller) -> None:
    response = await admin.http.head(EXPORT)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    assert "attachment" in response.headers["content-disposition"]
    assert response.content == b""


async def test_an_export_cannot_be_requested_as_json(admin: Caller) -> None:
    assert_problem(await admin.http.get(EXPORT, headers={"Accept": "application/json"}), 406, "not-acceptable")
    assert (await admin.http.get(EXPORT, headers={"Accept": "application/x-ndjson"})).status_code == 200
