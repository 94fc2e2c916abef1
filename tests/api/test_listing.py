"""Section 5 of the contract: lists, their order and their pagination."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio

from tests.api.stack import UNKNOWN_ID, Caller, MakeUser, Serve, Stack, assert_problem, faults_of, next_link

RESOURCE_FIELDS = ["id", "type", "version", "created_at", "updated_at"]
USER_FIELDS = ["id", "email", "created_at", "updated_at"]

type Item = dict[str, Any]


async def create(caller: Caller, kind: str, count: int = 1) -> list[str]:
    """Create resources concurrently, and return their ids in the order of the requests."""
    requests = [caller.http.post("/api/v1/resources", json={"type": kind, "data": {"n": n}}) for n in range(count)]
    return [response.json()["id"] for response in await asyncio.gather(*requests)]


async def fetch(caller: Caller, path: str = "/api/v1/resources", **query: Any) -> Any:
    response = await caller.http.get(path, params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def pages_of(caller: Caller, path: str = "/api/v1/resources", **query: Any) -> AsyncIterator[list[Item]]:
    """Yield the pages of a list, by cursor."""
    cursor = None
    while True:
        page = await fetch(caller, path, **query, **({} if cursor is None else {"cursor": cursor}))
        yield page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


async def ids_of_list(caller: Caller, **query: Any) -> list[str]:
    return [item["id"] async for page in pages_of(caller, **query) for item in page]


# --- content ---------------------------------------------------------------------------------------


async def test_the_first_page_has_the_twenty_newest_resources(alice: Caller, kind: str) -> None:
    ids = await create(alice, kind, 25)
    page = await fetch(alice, type=kind)
    assert page.keys() == {"items", "next_cursor"}
    assert [item["id"] for item in page["items"]] == sorted(ids, reverse=True)[:20]
    assert isinstance(page["next_cursor"], str)
    read = (await alice.http.get(f"/api/v1/resources/{page['items'][0]['id']}")).json()
    assert page["items"][0] == read


async def test_an_empty_list_has_no_next_page(alice: Caller, kind: str) -> None:
    response = await alice.http.get("/api/v1/resources", params={"type": kind, "count": "exact"})
    assert response.json() == {"items": [], "next_cursor": None, "total": 0}
    assert "link" not in response.headers


async def test_users_list_their_own_resources_and_administrators_all(
    alice: Caller, bob: Caller, admin: Caller, kind: str
) -> None:
    (hers,), (his,) = await create(alice, kind), await create(bob, kind)
    assert await ids_of_list(alice, type=kind) == [hers]
    assert await ids_of_list(bob, type=kind) == [his]
    assert await ids_of_list(admin, type=kind, sort="created_at") == [hers, his]


async def test_a_list_can_be_filtered_by_type_and_owner(alice: Caller, bob: Caller, admin: Caller, kind: str) -> None:
    (hers,), (his,) = await create(alice, kind), await create(bob, kind)
    await create(alice, kind.upper())
    assert await ids_of_list(admin, type=kind, owner=alice.id) == [hers]
    assert await ids_of_list(admin, type=kind, owner=bob.id) == [his]
    assert await ids_of_list(admin, type=kind, owner="me") == []
    assert await ids_of_list(admin, type=kind, owner=UNKNOWN_ID) == []
    assert await ids_of_list(alice, type=kind, owner="me") == [hers]
    assert await ids_of_list(alice, type=kind, owner=alice.id) == [hers]
    assert await ids_of_list(alice, type=kind, owner=bob.id) == []
    assert (await fetch(alice, type=kind, owner=bob.id, count="exact"))["total"] == 0


async def test_the_total_on_every_page_counts_what_the_caller_may_read(
    alice: Caller, bob: Caller, admin: Caller, kind: str
) -> None:
    await create(alice, kind, 5)
    await create(bob, kind, 2)
    for caller, total in ((alice, 5), (bob, 2), (admin, 7)):
        page = await fetch(caller, type=kind, count="exact", limit=2)
        assert page["total"] == total
        if page["next_cursor"]:
            page = await fetch(caller, type=kind, count="exact", limit=2, cursor=page["next_cursor"])
            assert page["total"] == total


# --- pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 100])
async def test_cursors_return_every_resource_once_and_in_order(alice: Caller, kind: str, limit: int) -> None:
    ids = sorted(await create(alice, kind, 7), reverse=True)
    pages = [page async for page in pages_of(alice, type=kind, limit=limit)]
    assert [item["id"] for page in pages for item in page] == ids
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert pages[-1]


async def test_link_headers_page_through_the_list(alice: Caller, kind: str) -> None:
    ids = await create(alice, kind, 5)
    for base in ("/api/v1", "/api"):
        found, url = [], f"{base}/resources?type={kind}&sort=id&limit=2&count=exact"
        while True:
            response = await alice.http.get(url)
            found += [item["id"] for item in response.json()["items"]]
            assert response.json()["total"] == 5
            link = next_link(response)
            if link is None:
                assert response.json()["next_cursor"] is None
                break
            assert 'rel="next"' in response.headers["link"]
            assert urlsplit(link).path == f"{base}/resources"
            query = parse_qs(urlsplit(link).query)
            assert query["cursor"] == [response.json()["next_cursor"]]
            assert (query["type"], query["limit"], query["sort"]) == ([kind], ["2"], ["id"])
            url = link
        assert found == sorted(ids)


async def test_pages_can_be_requested_by_number(alice: Caller, kind: str) -> None:
    ids = sorted(await create(alice, kind, 5))
    pages = [await fetch(alice, type=kind, sort="id", limit=2, page=number) for number in (1, 2, 3, 4)]
    assert [[item["id"] for item in page["items"]] for page in pages] == [ids[:2], ids[2:4], ids[4:], []]
    assert pages[2]["next_cursor"] is None
    page = await fetch(alice, type=kind, sort="id", limit=2, cursor=pages[0]["next_cursor"])
    assert page["items"] == pages[1]["items"]


async def test_page_numbers_are_limited_to_ten_thousand_rows(alice: Caller, kind: str) -> None:
    assert (await fetch(alice, type=kind, limit=100, page=100))["items"] == []
    assert (await fetch(alice, type=kind, limit=1, page=10_000))["items"] == []
    for query in ("limit=100&page=101", "page=501", "limit=1&page=10001", "page=99999999999999999999"):
        assert faults_of(await alice.http.get(f"/api/v1/resources?{query}")) == ["page"]


@pytest.mark.parametrize(
    ("query", "faulty"),
    [
        *((f"limit={n}", "limit") for n in ("0", "101", "-1", "x", "", "1.5", "99999999999999999999", "%0A5", "5%0A")),
        *((f"page={n}", "page") for n in ("0", "-1", "x", "")),
        *((f"count={n}", "count") for n in ("", "true", "EXACT", "estimate")),
        *((f"type={n}", "type") for n in ("", "a b", "1st", "note%0A", "x" * 64, "%00", "null%20")),
        *((f"owner={n}", "owner") for n in ("", "you", "123", UNKNOWN_ID[:-1], f"{UNKNOWN_ID}%0A", "me%0A")),
        *((f"sort={n}", "sort") for n in ("", "-", "data", "password_hash", "id,", ",id", "id,id", "id,-id", "--id")),
        *((f"sort={n}", "sort") for n in ("ID", "id%20", "+id", "created_at%3B--", "deleted_at", "email")),
    ],
)
async def test_an_invalid_parameter_is_named(alice: Caller, query: str, faulty: str) -> None:
    assert faults_of(await alice.http.get(f"/api/v1/resources?{query}")) == [faulty]


async def test_an_invalid_order_is_reported_together_with_other_faults(alice: Caller) -> None:
    assert faults_of(await alice.http.get("/api/v1/resources?limit=0&sort=bogus")) == ["limit", "sort"]


# --- order -----------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def owner_of_resources(stack: Stack) -> Caller:
    """An owner of resources of three types, with repeated values in every field except the id."""
    caller = await stack.sign_up()
    for kind in ("list-a", "list-B", "list-b"):
        ids = await create(caller, kind, 5)
        for changed in ids[1:3]:
            await caller.http.put(f"/api/v1/resources/{changed}", json={"data": {}})
    half = sorted(await ids_of_list(caller))[7]
    for field, comparison, time in (
        ("created_at", "<=", "2026-01-02T03:04:05.678Z"),
        ("created_at", ">", "2026-01-02T03:04:05.679Z"),
        ("updated_at", "<=", "2026-02-02T03:04:05.678Z"),
    ):
        condition = f"owner_id = '{caller.id}' AND id {comparison} '{half}'"
        await stack.execute(f"UPDATE resources SET {field} = '{time}' WHERE {condition}")
    return caller


def is_sorted(items: Sequence[Item], order: Sequence[str]) -> bool:
    """Return whether items are sorted by an order such as ["-created_at", "id"]."""
    for one, next_one in itertools.pairwise(items):
        for key in order:
            field = key.removeprefix("-")
            if one[field] != next_one[field]:
                if (one[field] > next_one[field]) != key.startswith("-"):
                    return False
                break
    return True


async def assert_sorted_list(caller: Caller, order: Sequence[str], path: str, count: int, **query: Any) -> None:
    items = [item async for page in pages_of(caller, path, sort=",".join(order), limit=4, **query) for item in page]
    assert len({item["id"] for item in items}) == len(items) == count
    assert is_sorted(items, order), order


DIRECTIONS = ("", "-")


@pytest.mark.parametrize("first", [sign + field for field in RESOURCE_FIELDS for sign in DIRECTIONS])
async def test_a_list_can_be_sorted_by_any_one_or_two_fields(owner_of_resources: Caller, first: str) -> None:
    await assert_sorted_list(owner_of_resources, [first], "/api/v1/resources", 15)
    for field, sign in itertools.product(RESOURCE_FIELDS, DIRECTIONS):
        if field != first.removeprefix("-"):
            await assert_sorted_list(owner_of_resources, [first, sign + field], "/api/v1/resources", 15)


@pytest.mark.parametrize(
    "order", ["type,-version,created_at,-id", "-updated_at,type,-created_at", "version,-type,updated_at,created_at,id"]
)
async def test_a_list_can_be_sorted_by_several_fields(owner_of_resources: Caller, order: str) -> None:
    await assert_sorted_list(owner_of_resources, order.split(","), "/api/v1/resources", 15)


@pytest.mark.parametrize("order", ["owner_id", "-owner_id", "owner_id,-created_at", "-owner_id,id", "version,owner_id"])
async def test_a_list_can_be_sorted_by_owner(alice: Caller, bob: Caller, admin: Caller, kind: str, order: str) -> None:
    await create(alice, kind, 5)
    await create(bob, kind, 5)
    await assert_sorted_list(admin, order.split(","), "/api/v1/resources", 10, type=kind)


@pytest.mark.parametrize("order", [sign + field for field in USER_FIELDS for sign in DIRECTIONS] + ["-updated_at,id"])
async def test_accounts_can_be_sorted_by_any_field(serve: Serve, order: str) -> None:
    stack = await serve()
    admin = await stack.sign_up_admin()
    for name in ("Émile", "bob", "_ann", "0zoe"):
        await stack.sign_up(f"{name}@example.com")
    await admin.http.patch(f"/api/v1/users/{admin.id}", json={"name": "Root"})
    items = [item async for page in pages_of(admin, "/api/v1/users", sort=order, limit=2) for item in page]
    for item in items:
        item["email"] = item["email"].casefold()
    assert len({item["id"] for item in items}) == 5
    assert is_sorted(items, order.split(","))


async def test_accounts_are_listed_like_resources(make_user: MakeUser, admin: Caller, alice: Caller) -> None:
    newest = await make_user()
    response = await admin.http.get("/api/v1/users", params={"limit": 1, "count": "exact"})
    page = response.json()
    assert page.keys() == {"items", "next_cursor", "total"}
    # Only the owner sees a pending address.
    assert page["items"][0] | {"pending_email": None} == newest.grant["user"]
    assert page["total"] >= 2
    assert "password" not in response.text
    assert next_link(response) is not None
    assert len((await fetch(admin, "/api/v1/users", limit=2, page=2))["items"]) >= 1
    assert_problem(await alice.http.get("/api/v1/users"), 403, "forbidden")
    for query in ("sort=password_hash", "sort=name", "type=x", "limit=0"):
        assert faults_of(await admin.http.get(f"/api/v1/users?{query}")) == [query.partition("=")[0]]


# --- cursors ---------------------------------------------------------------------------------------


async def test_a_cursor_is_valid_only_for_its_own_query_and_caller(
    alice: Caller, bob: Caller, admin: Caller, kind: str
) -> None:
    for caller in (alice, bob):
        await create(caller, kind, 3)
    query: dict[str, Any] = {"type": kind, "limit": 1}
    cursor = (await fetch(alice, **query))["next_cursor"]
    assert (await fetch(alice, **query, cursor=cursor))["items"]
    for other in ({"type": "other"}, {"sort": "created_at"}, {"sort": "-id"}, {"owner": "me"}):
        response = await alice.http.get("/api/v1/resources", params={**query, **other, "cursor": cursor})
        assert faults_of(response) == ["cursor"]
    assert faults_of(await alice.http.get("/api/v1/resources", params={"cursor": cursor})) == ["cursor"]
    for caller, path in ((bob, "resources"), (admin, "resources"), (admin, "users")):
        used = query if path == "resources" else {"limit": 1}
        response = await caller.http.get(f"/api/v1/{path}", params={**used, "cursor": cursor})
        assert faults_of(response) == ["cursor"]


async def test_a_cursor_is_valid_under_both_base_paths(alice: Caller, kind: str) -> None:
    await create(alice, kind, 3)
    cursor = (await fetch(alice, type=kind, limit=1))["next_cursor"]
    assert (await fetch(alice, "/api/resources", type=kind, limit=1, cursor=cursor))["items"]


async def test_a_forged_cursor_is_invalid(alice: Caller, kind: str) -> None:
    await create(alice, kind, 3)
    cursor = (await fetch(alice, type=kind, limit=1))["next_cursor"]
    flipped = [cursor[:n] + ("A" if cursor[n] != "A" else "B") + cursor[n + 1 :] for n in range(len(cursor))]
    for forged in [*flipped, "", "x", "null", cursor[:-1], f"{cursor}A", f"{cursor}=", "é", "\0", "x" * 3000]:
        response = await alice.http.get("/api/v1/resources", params={"type": kind, "limit": 1, "cursor": forged})
        assert faults_of(response) == ["cursor"]


async def test_page_and_cursor_exclude_each_other(alice: Caller, kind: str) -> None:
    await create(alice, kind, 3)
    cursor = (await fetch(alice, type=kind, limit=1))["next_cursor"]
    response = await alice.http.get(f"/api/v1/resources?type={kind}&limit=1&page=1&cursor={cursor}")
    assert_problem(response, 400, "invalid-request")


@pytest.mark.parametrize("order", ["-created_at", "created_at", "id", "-type,created_at", "version,-id", "owner_id"])
async def test_cursors_neither_repeat_nor_skip_resources_during_concurrent_writes(
    make_user: MakeUser, order: str
) -> None:
    caller = await make_user()
    kinds = ("paged-a", "paged-b")
    existing = [identifier for kind in kinds for identifier in await create(caller, kind, 12)]
    to_delete, to_change = set(existing[::4]), set(existing[1::4])
    seen: list[str] = []
    async for page in pages_of(caller, sort=order, limit=3):
        seen += [item["id"] for item in page]
        await create(caller, kinds[len(seen) % 2], 2)
        if to_delete:
            await caller.http.delete(f"/api/v1/resources/{to_delete.pop()}")
        if to_change and order != "version,-id":
            await caller.http.patch(f"/api/v1/resources/{to_change.pop()}", json={"data": {"x": 1}})
        if len(seen) > 200:
            break  # New resources at the end of the list could continue forever.
    assert len(set(seen)) == len(seen)
    assert set(existing) - set(existing[::4]) <= set(seen)


async def test_a_cursor_stays_valid_when_the_last_item_of_its_page_is_deleted(alice: Caller, kind: str) -> None:
    ids = sorted(await create(alice, kind, 4), reverse=True)
    page = await fetch(alice, type=kind, limit=2)
    assert [item["id"] for item in page["items"]] == ids[:2]
    await alice.http.delete(f"/api/v1/resources/{ids[1]}")
    page = await fetch(alice, type=kind, limit=2, cursor=page["next_cursor"])
    assert [item["id"] for item in page["items"]] == ids[2:]
