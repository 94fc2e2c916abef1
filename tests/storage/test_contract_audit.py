"""The contract of `AuditLog`, sentence by sentence: filters, pagination, and that entries never change."""

import asyncio
import itertools
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from kingpost import clock
from kingpost.audit.sql import SQLAuditLog
from kingpost.audit.store import AuditListing
from kingpost.main import KINDS
from kingpost.model import AuditEntry, Position, SortKey, User
from kingpost.storage.database import Database, Query
from kingpost.storage.opening import open_database
from kingpost.storage.writes import Writes
from tests.nodes import Node
from tests.storage.samples import effects_of, entries_of, id_and_time, new_entry, nodes_in_turn, plain, raw
from tests.storage.test_migration import Recorder, analyse_as_autovacuum_does, plan_and_cost

ACTIONS = ("user.created", "user.changed", "session.ended")
OLDEST_FIRST = (SortKey("id"),)


def new_id() -> str:
    return id_and_time()[0]


@pytest_asyncio.fixture(loop_scope="session")
async def database(migrated_url: str, nodes: list[Node]) -> AsyncGenerator[Database]:
    """Direct access to the database, without the application."""
    database = await open_database(migrated_url)
    yield database
    await database.close()


async def ids_of_all_pages(storage: Node, listing: AuditListing) -> list[str]:
    """The ids of all entries on all pages, fetched by position."""
    seen: list[str] = []
    after: Position | None = None
    while True:
        page = await storage.audit.list(msgspec.structs.replace(listing, after=after))
        assert len(page.items) <= listing.limit
        seen += [entry.id for entry in page.items]
        after = page.next
        if after is None:
            return seen


# --- add and list --------------------------------------------------------------------------------


async def test_an_entry_is_read_as_it_was_stored(nodes: list[Node]) -> None:
    person, thing = new_id(), new_id()
    entries = [
        new_entry(actor_id=person, target_id=thing, details={"roles": ["user"], "n": {"m": [1, None, "🦊"]}}),
        new_entry(address=None, request_id=None),
        new_entry(address="2001:db8::1", request_id="Ünïcode"),
    ]
    await nodes[0].audit.add(*entries)
    assert plain(await entries_of(nodes[1])) == plain(entries)


async def test_adding_no_entries_changes_nothing(storage: Node) -> None:
    await storage.audit.add()
    assert await entries_of(storage) == []


async def test_either_all_entries_are_added_or_none(nodes: list[Node]) -> None:
    first, second = new_entry(), new_entry()
    await nodes[0].audit.add(first)
    with pytest.raises(Exception, match=r"append-only|UniqueViolation"):
        await nodes[0].audit.add(second, first)
    assert [entry.id for entry in await entries_of(nodes[1])] == [first.id]


async def various(storage: Node) -> tuple[list[AuditEntry], dict[str, Sequence[str | None]]]:
    """Store two entries for every combination of actor, target and action; return them with all ids."""
    people: list[str | None] = [None, new_id(), new_id()]
    targets: list[str | None] = [None, people[1], new_id()]
    combinations = list(itertools.product(people, targets, ACTIONS)) * 2
    entries = [new_entry(action, actor_id=actor, target_id=target) for actor, target, action in combinations]
    await storage.audit.add(*entries)
    return entries, {"actor_id": people, "target_id": targets, "action": (None, *ACTIONS, "user.deleted")}


async def test_every_combination_of_filters_finds_the_matching_entries_only(nodes: list[Node]) -> None:
    entries, values = await various(nodes[0])
    times = [None, entries[10].created_at, entries[40].created_at]
    for actor, target, action in itertools.product(*values.values()):
        for since, until in itertools.product(times, times):
            filters: dict[str, Any] = {"actor_id": actor, "target_id": target, "action": action}
            expected = [
                entry.id
                for entry in entries
                if all(value is None or getattr(entry, name) == value for name, value in filters.items())
                and (since is None or entry.created_at >= since)
                and (until is None or entry.created_at < until)
            ]
            listing = AuditListing((SortKey("created_at"),), 100, count=True, since=since, until=until, **filters)
            page = await nodes[1].audit.list(listing)
            assert [entry.id for entry in page.items] == expected, listing
            assert page.total == len(expected)


async def test_since_is_inclusive_and_until_is_exclusive(storage: Node) -> None:
    entries = [new_entry() for _ in range(4)]
    await storage.audit.add(*entries)

    async def numbers(since: str | None, until: str | None) -> list[int]:
        found = {entry.id for entry in await entries_of(storage, since=since, until=until)}
        return [n for n, entry in enumerate(entries) if entry.id in found]

    second, third = entries[1].created_at, entries[2].created_at
    assert await numbers(second, None) == [1, 2, 3]
    assert await numbers(None, third) == [0, 1]
    assert await numbers(second, third) == [1]
    assert await numbers(second, second) == []
    assert await numbers(third, second) == []
    assert await numbers("0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z") == [0, 1, 2, 3]


async def test_a_time_filter_never_splits_entries_of_one_millisecond(storage: Node) -> None:
    entry_id, now = clock.new_id()
    entries = [msgspec.structs.replace(new_entry(), id=entry_id, created_at=now)]
    while (another := clock.new_id())[1] == now:
        entries.append(msgspec.structs.replace(new_entry(), id=another[0], created_at=now))
        if len(entries) == 50:
            break
    await storage.audit.add(*entries)
    assert len(await entries_of(storage, since=now)) == len(entries)
    assert await entries_of(storage, until=now) == []


@pytest.mark.parametrize("field", ["created_at", "id"])
@pytest.mark.parametrize("limit", [1, 7, 54, 100])
async def test_pagination_returns_each_matching_entry_once_in_order(nodes: list[Node], field: str, limit: int) -> None:
    entries, _ = await various(nodes[0])
    for down in (False, True):
        ids = [entry.id for entry in entries if entry.action == "user.created"]
        listing = AuditListing((SortKey(field, down),), limit, action="user.created")
        assert await ids_of_all_pages(nodes[1], listing) == (ids[::-1] if down else ids)


async def test_pages_can_be_skipped_by_number(storage: Node) -> None:
    entries = [new_entry() for _ in range(5)]
    await storage.audit.add(*entries)
    page = await storage.audit.list(AuditListing(OLDEST_FIRST, 2, offset=2, count=True))
    assert [entry.id for entry in page.items] == [entry.id for entry in entries[2:4]]
    assert page.total == 5


async def test_pagination_during_appends_repeats_and_misses_no_entry(nodes: list[Node]) -> None:
    before = [new_entry() for _ in range(60)]
    await nodes[0].audit.add(*before)
    going = True

    async def append(node: Node) -> None:
        while going:
            await node.audit.add(new_entry(), new_entry("user.created"))
            user_id, now = id_and_time()
            user = User(user_id, user_id, False, None, raw({}), ("user",), "active", 1, now, now)
            await node.users.create(user, user_id, "hash", effects_of((new_entry(target_id=user_id),)))

    writers = [asyncio.create_task(append(node)) for node in nodes_in_turn(nodes, 4)]
    for down in (False, True):
        listing = AuditListing((SortKey("created_at", down),), 7, until=before[-1].created_at)
        everything = AuditListing((SortKey("created_at", True),), 7)
        for requested, must in ((listing, before[:-1]), (everything, before)):
            seen = await ids_of_all_pages(nodes[1], requested)
            assert len(seen) == len(set(seen))
            assert {entry.id for entry in must} <= set(seen)
            assert seen == sorted(seen, reverse=requested.sort[0].descending)
    going = False
    await asyncio.gather(*writers)


@pytest.mark.parametrize(
    "filters", [{}, {"actor_id": True}, {"target_id": True}, {"action": "user.created"}, {"since": True, "until": True}]
)
async def test_a_page_is_read_through_an_index(migrated_url: str, nodes: list[Node], filters: dict[str, Any]) -> None:
    person, thing = new_id(), new_id()
    some = [new_entry(ACTIONS[n % 3], actor_id=person, target_id=thing) for n in range(30)]
    others = [new_entry("user.deleted", actor_id=new_id(), target_id=new_id()) for _ in range(1500)]
    await nodes[0].audit.add(*others[:1000], *some, *others[1000:])
    values: dict[str, Any] = {
        "actor_id": person,
        "target_id": thing,
        "action": "user.created",
        "since": some[0].created_at,
        "until": some[20].created_at,
    }
    database = await open_database(migrated_url)
    try:
        await analyse_as_autovacuum_does(database)
        recorder = Recorder(database)
        log = SQLAuditLog(recorder, Writes(recorder, KINDS))
        for down in (False, True):
            listing = AuditListing((SortKey("created_at", down),), 5, **{name: values[name] for name in filters})
            page = await log.list(listing)
            await log.list(msgspec.structs.replace(listing, after=page.next))
            plan, cost = await plan_and_cost(migrated_url, database, recorder.asked)
            assert not re.search(r"TEMP B-TREE|Seq Scan|\bSCAN \w+$", plan), plan
            assert cost < 500, plan
    finally:
        await database.close()


# --- append-only ---------------------------------------------------------------------------------

COLUMNS = [field for field in AuditEntry.__struct_fields__ if field != "address"]
ANOTHER = {"id": f"'{clock.unique()}'", "created_at": "'2000-01-01T00:00:00.000Z'", "actor_id": f"'{clock.unique()}'"}
ANOTHER |= {"target_id": ANOTHER["actor_id"], "details": "'{\"forged\": true}'"}


async def refuses(database: Database, statement: str) -> None:
    with pytest.raises(Exception, match="the audit log is append-only"):
        await database.write(Query(statement, ()))


@pytest.mark.parametrize("column", COLUMNS)
async def test_the_database_refuses_to_change_an_entry(storage: Node, database: Database, column: str) -> None:
    entry = new_entry(actor_id=new_id(), target_id=new_id(), details={"n": 1})
    await storage.audit.add(entry)
    await refuses(database, f"UPDATE audit SET {column} = {ANOTHER.get(column, "'forged'")}")
    await refuses(database, f"UPDATE audit SET address = NULL, {column} = {ANOTHER.get(column, "'forged'")}")
    if column in ("actor_id", "target_id", "request_id"):
        await refuses(database, f"UPDATE audit SET {column} = NULL")
    assert plain(await entries_of(storage)) == plain([entry])


async def test_the_database_refuses_to_delete_or_replace_entries(storage: Node, database: Database) -> None:
    entry = new_entry()
    await storage.audit.add(entry, new_entry())
    await refuses(database, f"DELETE FROM audit WHERE id = '{entry.id}'")
    await refuses(database, "DELETE FROM audit")
    names, values = ", ".join(AuditEntry.__struct_fields__), f"'{entry.id}', '{clock.now()}', 'system', NULL, 'x', 'x'"
    forged = f"INTO audit ({names}) VALUES ({values}, NULL, NULL, NULL, '{{}}')"
    if database.dialect.name == "sqlite":
        await refuses(database, f"INSERT OR REPLACE {forged}")
        await refuses(database, f"INSERT {forged} ON CONFLICT (id) DO UPDATE SET action = 'forged'")
    else:
        await refuses(database, f"INSERT {forged} ON CONFLICT (id) DO UPDATE SET action = 'forged'")
        await refuses(database, "TRUNCATE audit")
    assert (await entries_of(storage))[0].action == entry.action
    assert len(await entries_of(storage)) == 2


async def test_an_address_can_be_erased_but_not_replaced(storage: Node, database: Database) -> None:
    entry, without = new_entry(address="192.0.2.7"), new_entry(address=None)
    await storage.audit.add(entry, without)
    await refuses(database, "UPDATE audit SET address = '198.51.100.1'")
    await refuses(database, f"UPDATE audit SET address = '198.51.100.1' WHERE id = '{without.id}'")
    await database.write(Query("UPDATE audit SET address = NULL", ()))
    assert plain(await entries_of(storage)) == plain([msgspec.structs.replace(entry, address=None), without])
