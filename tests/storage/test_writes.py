"""The contract of writes as values, on every driver and from two nodes at once."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from kingpost.clock import new_id
from kingpost.storage.database import Database, ForeignKeyViolation, Query, Script, UniqueViolation
from kingpost.storage.postgresql.database import PostgreSQLDatabase
from kingpost.storage.postgresql.joined_writes import JoinedStatement, divide
from kingpost.storage.sqlite.database import SQLiteDatabase
from kingpost.storage.writes import Refused
from tests.servers import PgBouncer, PostgreSQLServer, fresh_database
from tests.storage.ledger import (
    Closed,
    Create,
    Delete,
    Ledger,
    Link,
    Message,
    Note,
    NoTicket,
    OpenGate,
    Receipt,
    Replace,
    UsedTicket,
    documents,
    gates,
    history,
    notes,
    outbox,
    receipts,
    tickets,
    typical_effects,
)
from tests.storage.samples import race, tally

CALLERS = 64
UNKNOWN_ID = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"


@pytest.fixture(params=["sqlite", "postgresql", "pgbouncer"])
async def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[list[Ledger]]:
    """Two nodes on one empty database of each kind."""
    async with AsyncExitStack() as stack:
        if request.param == "sqlite":
            opened: list[Database] = [await SQLiteDatabase.open(str(tmp_path / "test.db")) for _ in range(2)]
        else:
            server: PostgreSQLServer = request.getfixturevalue("postgresql_server")
            name = await stack.enter_async_context(fresh_database(server))
            pooler: PgBouncer | None = None
            if request.param == "pgbouncer":
                pooler = request.getfixturevalue("pgbouncer")
            url = pooler.url(name) if pooler else server.url(name)
            opened = [await PostgreSQLDatabase.open(url, connections=4) for _ in range(2)]
        for database in opened:
            stack.push_async_callback(database.close)
        ledgers = [Ledger(database) for database in opened]
        await ledgers[0].prepare()
        yield ledgers


@pytest.fixture
def ledger(nodes: list[Ledger]) -> Ledger:
    """One of the two nodes."""
    return nodes[0]


def new_document(data: str = "{}", name: str | None = None) -> Create:
    return Create(new_id()[0], data, name)


def replacing(document_id: str, versions: tuple[int, ...]) -> Replace:
    return Replace(document_id, "[]", versions)


# --- one write and its effects -------------------------------------------------------------------


async def test_a_write_is_stored_with_its_history_and_effects(nodes: list[Ledger]) -> None:
    created = [new_document(f'{{"n": {n}}}') for n in range(CALLERS)]
    units = [(document, typical_effects(document.id, f"key {n}")) for n, document in enumerate(created)]
    outcomes = await race(*[nodes[0].writes.commit([write], effects) for write, effects in units])
    assert [list(outcome) for outcome in outcomes] == [[None]] * CALLERS
    assert await nodes[1].rows(documents) == [(d.id, None, d.data, 1) for d in created]
    assert await nodes[1].rows(history) == [(d.id, 1, d.data) for d in created]
    assert sorted(await nodes[1].rows(receipts)) == sorted([(f"key {n}", d.id) for n, d in enumerate(created)])
    assert {row[1] for row in await nodes[1].rows(outbox)} == {f"about {d.id}" for d in created}


async def test_the_history_has_every_version_of_a_document(ledger: Ledger) -> None:
    first, second = await ledger.create('{"n": 1}'), await ledger.create('{"n": 1}')
    for version in range(1, 4):
        data = f'{{"n": {version + 1}}}'
        writes = [Replace(first, data, (version,)), Replace(second, data)]
        outcomes = await race(*[ledger.writes.commit([write], typical_effects(write.id)) for write in writes])
        assert [tuple(row) for (row,) in outcomes] == [(i, None, data, version + 1) for i in (first, second)]
    expected = [(i, version, f'{{"n": {version}}}') for i in (first, second) for version in range(1, 5)]
    assert await ledger.rows(history) == sorted(expected)


@pytest.mark.parametrize("versions", [(2,), (2, 3, 2**40), ()])
@pytest.mark.parametrize("write", [replacing, Delete])
async def test_a_write_that_finds_no_row_stores_nothing(
    nodes: list[Ledger], versions: tuple[int, ...], write: Callable[[str, tuple[int, ...]], Any]
) -> None:
    document = await nodes[0].create()
    before = await nodes[1].counts()
    for effects in ((), typical_effects(document)):
        with pytest.raises(Refused) as caught:
            await nodes[0].writes.commit([write(document, versions)], effects)
        assert (caught.value.index, caught.value.reason) == (0, None)
    assert await nodes[1].counts() == before
    assert await nodes[1].rows(documents) == [(document, None, "{}", 1)]


async def test_several_versions_can_be_expected(ledger: Ledger) -> None:
    document = await ledger.create()
    (row,) = await ledger.writes.commit([Replace(document, "[1]", (7, 1, 2**40))])
    assert tuple(row or ()) == (document, None, "[1]", 2)
    await ledger.writes.commit([Delete(document, (1, 2))])
    assert await ledger.rows(documents) == []


async def test_a_guard_allows_or_prevents_the_whole_unit(nodes: list[Ledger]) -> None:
    open_gate, closed, document = await nodes[0].gate(), await nodes[0].gate(closed=1), await nodes[0].create()
    for gate in (closed, UNKNOWN_ID):
        for write in (new_document(), Replace(document, "[]", (1,)), Delete(document)):
            with pytest.raises(Closed):
                await nodes[0].writes.commit([write], [*typical_effects(document), OpenGate(gate)])
    assert await nodes[1].counts() == {"documents": 1, "history": 1, "gates": 2}
    for write in (new_document(), Replace(document, "[]", (1,))):
        await nodes[0].writes.commit([write], [*typical_effects(document), OpenGate(open_gate)])
    assert await nodes[1].counts() == {"documents": 2, "history": 3, "receipts": 2, "outbox": 2, "gates": 2}


async def test_a_version_and_a_condition_apply_together_or_not_at_all(nodes: list[Ledger]) -> None:
    document, ticket = await nodes[0].create(), await nodes[0].ticket()
    with pytest.raises(Refused) as caught:
        await nodes[0].writes.commit(
            [Replace(document, "[]", (2,))], [*typical_effects(document), UsedTicket(ticket, 1)]
        )
    assert caught.value.index == 0
    for wrong in (UsedTicket(ticket, 2), UsedTicket(UNKNOWN_ID, 1)):
        with pytest.raises(NoTicket):
            await nodes[0].writes.commit([Replace(document, "[]", (1,))], [*typical_effects(document), wrong])
    assert await nodes[1].counts() == {"documents": 1, "history": 1, "tickets": 1}
    await nodes[0].writes.commit([Replace(document, "[]", (1,))], [*typical_effects(document), UsedTicket(ticket, 1)])
    assert await nodes[1].counts() == {"documents": 1, "history": 2, "receipts": 1, "outbox": 1}


async def test_a_constraint_violation_in_the_last_effect_rolls_back_the_write(nodes: list[Ledger]) -> None:
    document = await nodes[0].create(name="taken")
    message = Message(new_id()[0], "first")
    await nodes[0].writes.commit([Replace(document, "[]")], [message])
    before = await nodes[1].counts()
    for write in (new_document(), Replace(document, "[2]", (2,)), Delete(document)):
        for effects in ([Note("k", "t"), message], [*typical_effects(document), Message(new_id()[0], "new"), message]):
            with pytest.raises(Refused) as caught:
                await nodes[0].writes.commit([write], effects)
            assert caught.value.index == len(effects)
            assert isinstance(caught.value.reason, UniqueViolation)
    with pytest.raises(Refused) as caught:
        await nodes[0].writes.commit([new_document()], [Link(new_id()[0], document), Link(new_id()[0], UNKNOWN_ID)])
    assert caught.value.index == 2
    assert isinstance(caught.value.reason, ForeignKeyViolation)
    assert await nodes[1].counts() == before
    assert await nodes[1].rows(documents) == [(document, "taken", "[]", 2)]


async def test_a_write_can_have_any_number_of_effects_of_one_kind(ledger: Ledger) -> None:
    for count in (0, 1, 2, 5, 100):
        document = new_document()
        messages = [Message(new_id()[0], f"{count}") for _ in range(count)]
        await ledger.writes.commit([document], messages)
        assert [row for row in await ledger.rows(outbox) if row[1] == f"{count}"] == messages


async def test_the_later_of_two_effects_with_one_key_is_stored(ledger: Ledger) -> None:
    await ledger.writes.commit([new_document()], [Note("a", "1"), Note("b", "1"), Note("a", "2")])
    await ledger.writes.commit([new_document()], [Note("b", "3")])
    assert await ledger.rows(notes) == [("a", "2"), ("b", "3")]


async def test_effects_can_be_stored_without_a_write(ledger: Ledger) -> None:
    ticket = await ledger.ticket()
    assert list(await ledger.writes.commit([], [UsedTicket(ticket, 1), Note("a", "1")])) == []
    with pytest.raises(NoTicket):
        await ledger.writes.commit([], [UsedTicket(ticket, 1), Note("a", "2")])
    with pytest.raises(NoTicket):
        await ledger.writes.commit([], [UsedTicket(ticket, 1)])
    assert await ledger.rows(notes) == [("a", "1")]


# --- batches -------------------------------------------------------------------------------------


async def test_a_batch_runs_writes_of_all_kinds_in_order(nodes: list[Ledger]) -> None:
    kept, gone = await nodes[0].create(), await nodes[0].create()
    new = new_document("[0]")
    writes = [
        Replace(kept, "[1]", (1,)),
        new,
        Delete(gone, (1,)),
        Replace(new.id, "[2]", (1,)),
        Replace(kept, "[3]", (2,)),
        Replace(new.id, "[4]"),
        new_document(),
    ]
    rows = await nodes[0].writes.commit(writes, typical_effects(kept))
    assert [None if row is None else (row[0], *row[2:]) for row in rows if row is None or len(row) > 1] == [
        (kept, "[1]", 2),
        None,
        (new.id, "[2]", 2),
        (kept, "[3]", 3),
        (new.id, "[4]", 3),
        None,
    ]
    assert tuple(rows[2] or ()) == (gone,)
    left = {row[0]: row[2:] for row in await nodes[1].rows(documents)}
    assert len(left) == 3
    assert left[kept] == ("[3]", 3)
    assert left[new.id] == ("[4]", 3)
    assert [row[1:] for row in await nodes[1].rows(history) if row[0] == new.id] == [(1, "[0]"), (2, "[2]"), (3, "[4]")]


async def test_a_batch_is_atomic_and_reports_the_index_of_the_failed_write(nodes: list[Ledger]) -> None:
    stored = [await nodes[0].create(name="taken")] + [await nodes[0].create() for _ in range(9)]
    before = await nodes[1].counts()
    good: list[Any] = [Replace(document, "[1]", (1,)) for document in stored[1:]]
    bad: list[tuple[Any, type[Exception] | None]] = [
        (Replace(stored[0], "[1]", (2,)), None),
        (Delete(stored[0], (2,)), None),
        (Delete(UNKNOWN_ID), None),
        (new_document(name="taken"), UniqueViolation),
        (Link(new_id()[0], UNKNOWN_ID), ForeignKeyViolation),
    ]
    for wrong, reason in bad:
        for index in (0, 4, 9):
            writes = [*good[:index], wrong, *good[index:], new_document()]
            with pytest.raises(Refused) as caught:
                await nodes[0].writes.commit(writes, typical_effects(stored[0]))
            assert caught.value.index == index
            assert type(caught.value.reason) is (reason or type(None))
    assert await nodes[1].counts() == before
    assert {row[3] for row in await nodes[1].rows(documents)} == {1}


async def test_a_batch_can_have_many_writes(nodes: list[Ledger]) -> None:
    created = [new_document() for _ in range(300)]
    await nodes[0].writes.commit(created, [*typical_effects(created[0].id), Note("k", "t")])
    assert await nodes[1].counts() == {"documents": 300, "history": 300, "receipts": 1, "outbox": 1, "notes": 1}
    rows = await nodes[0].writes.commit([Replace(document.id, "[]", (1,)) for document in created])
    assert [row and (row[0], row[3]) for row in rows] == [(document.id, 2) for document in created]
    await nodes[0].writes.commit([Delete(document.id, (2,)) for document in created])
    assert await nodes[1].rows(documents) == []


# --- dry runs ------------------------------------------------------------------------------------


async def test_a_dry_run_returns_the_result_and_stores_nothing(nodes: list[Ledger]) -> None:
    document, ticket = await nodes[0].create(), await nodes[0].ticket()
    before = await nodes[1].counts()
    units: list[tuple[list[Any], Sequence[Any]]] = [
        ([Replace(document, "[]", (1,))], ()),
        ([Replace(document, "[]", (1,))], [*typical_effects(document), UsedTicket(ticket, 1)]),
        ([Replace(document, "[]"), new_document(), Replace(document, "[]", (2,))], typical_effects(document)),
    ]
    for writes, effects in units:
        rows = await nodes[0].writes.commit(writes, effects, dry_run=True)
        assert [row and tuple(row)[3] for row in rows] == ([2] if len(writes) == 1 else [2, None, 3])
    assert list(await nodes[0].writes.commit([new_document()], typical_effects(document), dry_run=True)) == [None]
    with pytest.raises(Refused):
        await nodes[0].writes.commit([Replace(document, "[]", (2,))], dry_run=True)
    with pytest.raises(Refused) as caught:
        await nodes[0].writes.commit([new_document(), Create(document, "{}")], dry_run=True)
    assert caught.value.index == 1
    assert await nodes[1].counts() == before
    assert await nodes[1].rows(documents) == [(document, None, "{}", 1)]


async def test_dry_runs_and_writes_run_concurrently(nodes: list[Ledger]) -> None:
    calls = []
    for n in range(CALLERS):
        write = new_document(f"[{n}]")
        calls.append(nodes[n // 2 % 2].writes.commit([write], typical_effects(write.id), dry_run=n % 2 == 0))
    assert tally(await race(*calls)) == {"won": CALLERS}
    assert {int(row[2][1:-1]) % 2 for row in await nodes[0].rows(documents)} == {1}
    assert await nodes[0].counts() == dict.fromkeys(("documents", "history", "receipts", "outbox"), CALLERS // 2)


# --- many callers --------------------------------------------------------------------------------


async def test_a_failing_write_does_not_affect_other_writes(nodes: list[Ledger]) -> None:
    ledger = nodes[0]
    stored = [await ledger.create() for _ in range(CALLERS)]
    await ledger.writes.commit([new_document(name="taken")], [Receipt("used", UNKNOWN_ID)])
    closed = await ledger.gate(closed=1)
    calls, expected = [], []
    for n, document in enumerate(stored):
        match n % 8:
            case 0:
                calls.append(ledger.writes.commit([Replace(document, "[]", (1,))], typical_effects(document)))
            case 1:
                calls.append(ledger.writes.commit([Replace(document, "[]", (2,))], typical_effects(document)))
            case 2:
                calls.append(ledger.writes.commit([new_document()], typical_effects(document)))
            case 3:
                calls.append(ledger.writes.commit([new_document()], typical_effects(document, "used")))
            case 4:
                calls.append(ledger.writes.commit([new_document()]))
            case 5:
                calls.append(ledger.writes.commit([new_document(name="taken")]))
            case 6:
                calls.append(ledger.writes.commit([Delete(document, (1,))], [OpenGate(closed)]))
            case 7:
                calls.append(ledger.writes.commit([Delete(document, (1,))]))
        expected.append({1: Refused, 3: Refused, 5: Refused, 6: Closed}.get(n % 8, list))
    outcomes = await race(*calls)
    assert [type(outcome) for outcome in outcomes] == expected
    found = await nodes[1].counts()
    eighth = CALLERS // 8
    assert found["documents"] == CALLERS + 1 + (1 + 1 - 1) * eighth
    assert found["outbox"] == 2 * eighth
    assert found["receipts"] == 2 * eighth + 1
    assert found["history"] == CALLERS + 1 + 3 * eighth


async def test_exactly_one_of_many_writers_of_one_version_succeeds(nodes: list[Ledger]) -> None:
    document = await nodes[0].create()
    for version in range(1, 5):
        calls = []
        for n in range(CALLERS):
            effects = typical_effects(document) if n % 3 else ()
            write = Replace(document, f"[{n}]", (version,)) if n % 4 else Replace(document, f"[{n}]", (version, 99))
            writes = [write] if n % 5 else [new_document(), write]
            calls.append(nodes[n % 2].writes.commit(writes, effects))
        assert tally(await race(*calls)) == {"won": 1, "Refused": CALLERS - 1}
    (row,) = [row for row in await nodes[1].rows(documents) if row[0] == document]
    assert row[3] == 5
    recorded = [row for row in await nodes[1].rows(history) if row[0] == document]
    assert [version for _, version, _ in recorded] == [1, 2, 3, 4, 5]
    assert recorded[-1][2] == row[2]


async def test_all_unconditional_writes_take_effect(nodes: list[Ledger]) -> None:
    document = await nodes[0].create()
    calls = [
        nodes[n % 2].writes.commit([Replace(document, f"[{n}]")], typical_effects(document)) for n in range(CALLERS)
    ]
    outcomes = await race(*calls)
    assert sorted(row[3] for (row,) in outcomes) == list(range(2, CALLERS + 2))
    assert await nodes[0].counts() == {
        "documents": 1,
        "history": CALLERS + 1,
        "receipts": CALLERS,
        "outbox": CALLERS,
    }


async def test_exactly_one_of_many_writes_with_one_receipt_takes_effect(nodes: list[Ledger]) -> None:
    calls = [nodes[n % 2].writes.commit([new_document()], [Receipt("one", UNKNOWN_ID)]) for n in range(CALLERS)]
    outcomes = await race(*calls)
    assert tally(outcomes) == {"won": 1, "Refused": CALLERS - 1}
    assert {(o.index, type(o.reason)) for o in outcomes if isinstance(o, Refused)} == {(1, UniqueViolation)}
    assert await nodes[0].counts() == {"documents": 1, "history": 1, "receipts": 1}


async def test_overlapping_batches_in_any_order_all_take_effect(nodes: list[Ledger]) -> None:
    stored = [await nodes[0].create() for _ in range(20)]
    source = random.Random(7)
    calls = []
    for n in range(CALLERS):
        some = source.sample(stored, 10)
        order = sorted(some, reverse=n % 2 == 0)
        writes: list[Any] = [Replace(document, f"[{n}]") for document in order]
        if n % 3 == 0:  # A version is named, so that the batch has two shapes: rows are locked by several statements.
            writes[::2] = [Replace(document, f"[{n}]", tuple(range(1, 100))) for document in order[::2]]
        calls.append(nodes[n % 2].writes.commit(writes, typical_effects(stored[0])))
        calls.append(nodes[n % 2].writes.commit([Replace(order[0], "[]")], typical_effects(stored[0])))
    outcomes = await race(*calls)
    assert tally(outcomes) == {"won": 2 * CALLERS}
    assert sum(row[3] - 1 for row in await nodes[0].rows(documents)) == CALLERS * 11


async def test_overlapping_receipts_in_opposite_order_do_not_deadlock(fresh_postgresql_url: str) -> None:
    async with AsyncExitStack() as stack:
        nodes = []
        for _ in range(3):
            database = await PostgreSQLDatabase.open(fresh_postgresql_url)
            stack.push_async_callback(database.close)
            nodes.append(Ledger(database))
        await nodes[0].prepare()

        def in_the_middle() -> Script[None]:
            yield from nodes[2].writes.steps([Receipt("key 20", UNKNOWN_ID)])
            yield Query("SELECT pg_sleep(0.5)::text", ())
            raise Closed

        # Both nodes have inserted half of their receipts when they reach the receipt in the middle.
        held = asyncio.ensure_future(nodes[2].database.transact(in_the_middle))
        await asyncio.sleep(0.2)
        calls = []
        for node, order in ((nodes[0], range(10, 30)), (nodes[1], range(29, 9, -1))):
            calls += [node.writes.commit([new_document()], [Receipt(f"key {n}", UNKNOWN_ID)]) for n in order]
        assert tally(await race(*calls)) == {"won": 20, "Refused": 20}
        with pytest.raises(Closed):
            await held
        assert await nodes[0].counts() == {"documents": 20, "history": 20, "receipts": 20}


async def test_a_cancelled_call_does_not_affect_other_calls(nodes: list[Ledger]) -> None:
    created = [new_document() for _ in range(4 * CALLERS)]
    tasks = [
        asyncio.ensure_future(_commit(nodes[0], [d] if n % 5 else [d, new_document()], typical_effects(d.id)))
        for n, d in enumerate(created)
    ]
    for turn in range(0, CALLERS, 2):
        await asyncio.sleep(0.0005)
        tasks[turn].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in failed)
    found = {row[0] for row in await nodes[1].rows(documents)}
    assert {d.id for d, outcome in zip(created, outcomes, strict=True) if outcome not in failed} <= found
    counts = await nodes[1].counts()
    assert counts["documents"] == counts["history"]
    assert counts["receipts"] == counts["outbox"] == len(found & {d.id for d in created})
    await nodes[0].writes.commit([new_document()])


async def _commit(ledger: Ledger, writes: Sequence[Any], effects: Sequence[Any]) -> object:
    return await ledger.writes.commit(writes, effects)


async def test_closing_the_database_stores_waiting_writes(nodes: list[Ledger]) -> None:
    tasks = [
        asyncio.ensure_future(_commit(nodes[0], [d], typical_effects(d.id)))
        for d in [new_document() for _ in range(100)]
    ]
    await asyncio.sleep(0)
    await nodes[0].database.close()
    assert tally(await race(*tasks)) == {"won": 100}
    assert len(await nodes[1].rows(documents)) == 100


# --- inside scripts ------------------------------------------------------------------------------


async def test_a_script_can_store_effects(nodes: list[Ledger]) -> None:
    ticket, gate, closed = await nodes[0].ticket(), await nodes[0].gate(), await nodes[0].gate(closed=1)

    def script(*effects: Any) -> Callable[[], Script[str]]:
        def steps() -> Script[str]:
            yield from nodes[0].writes.steps([Note("before", "1")])
            yield from nodes[0].writes.steps(effects)
            return "done"

        return steps

    message = Message(new_id()[0], "text")
    transact = nodes[0].database.transact
    assert await transact(script(message, OpenGate(gate), UsedTicket(ticket, 1))) == "done"
    before = await nodes[1].counts()
    refusals: list[tuple[Any, type[Exception]]] = [
        (OpenGate(closed), Closed),
        (UsedTicket(ticket, 1), NoTicket),
        (message, UniqueViolation),
    ]
    outcomes = await race(*[transact(script(Note("after", "1"), effect)) for effect, _ in refusals])
    assert [type(outcome) for outcome in outcomes] == [error for _, error in refusals]
    assert await nodes[1].counts() == before
    assert await nodes[1].rows(tickets) == []
    assert len(await nodes[1].rows(gates)) == 2


# --- how PostgreSQL does it ----------------------------------------------------------------------


async def test_writes_of_the_same_shape_share_a_statement(
    fresh_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: list[int] = []
    query = JoinedStatement.query

    def counting(statement: JoinedStatement, parts: Any) -> Any:
        shared.append(len(parts))
        return query(statement, parts)

    monkeypatch.setattr(JoinedStatement, "query", counting)
    database = await PostgreSQLDatabase.open(fresh_postgresql_url)
    ledger = Ledger(database)
    await ledger.prepare()
    stored = [await ledger.create() for _ in range(10)]
    gate = await ledger.gate()
    shared.clear()
    await race(
        *[ledger.writes.commit([Replace(document, "[]", (1,))], typical_effects(document)) for document in stored]
    )
    assert shared == [10]
    shared.clear()
    await race(*[ledger.writes.commit([Replace(document, "[]")], [OpenGate(gate)]) for document in stored])
    assert shared == [1] * 10
    shared.clear()
    await race(*[ledger.writes.commit([Replace(stored[0], "[]")], typical_effects(stored[0])) for _ in range(10)])
    assert shared == [1] * 10
    shared.clear()
    await ledger.writes.commit([Replace(document, "[]") for document in stored], typical_effects(stored[0]))
    assert shared == [1]
    await database.close()


async def test_only_calls_that_could_leave_partial_writes_use_a_transaction(ledger: Ledger) -> None:
    def traces(writes: list[Any], effects: Sequence[Any] = ()) -> tuple[int, bool]:
        division = divide(ledger.writes._unit(writes, effects))
        return len(division.layouts), division.leaves_traces

    one, two = new_id()[0], new_id()[0]
    assert traces([Create(one, "{}")], [*typical_effects(one), OpenGate(UNKNOWN_ID)]) == (1, False)
    assert traces([Create(one, "{}"), Create(two, "{}")], [*typical_effects(one), Note("a", "b")]) == (1, False)
    assert traces([Replace(one, "{}", (1,))], [*typical_effects(one), OpenGate(UNKNOWN_ID)]) == (1, False)
    assert traces([Create(one, "{}")], [UsedTicket(UNKNOWN_ID, 1)]) == (1, False)
    assert traces([Replace(one, "{}"), Replace(two, "{}")]) == (1, True)
    assert traces([Replace(one, "{}")], [UsedTicket(UNKNOWN_ID, 1)]) == (2, True)
    assert traces([Replace(one, "{}"), Delete(two)]) == (2, True)
    assert traces([Replace(one, "{}"), Replace(one, "{}")]) == (2, True)
