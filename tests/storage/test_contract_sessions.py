"""The contract of `Sessions`, sentence by sentence, on every database and from two nodes at once."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from kingpost import clock
from kingpost.accounts.users.store import UserChange
from kingpost.auth.revocations.store import EndAPIKeys
from kingpost.auth.sessions.store import MAX_LISTED, Rotation
from kingpost.model import Session
from kingpost.problems import Unauthenticated
from kingpost.storage.database import Query
from kingpost.storage.effects import Effects
from tests.nodes import Node
from tests.storage.samples import (
    DAY,
    LONG_AGO,
    WRITERS,
    add_resource,
    add_session,
    add_user,
    effects_of,
    entries_of,
    new_entry,
    new_job,
    new_session,
    nodes_in_turn,
    plain,
    race,
)

UNKNOWN_ID = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"
AT = "2026-11-22T10:00:00.000Z"
"""The time of the first refresh in each test."""
LATER = "2026-11-22T10:00:05.000Z"
FAR_FUTURE = "2099-01-01T00:00:00.000Z"


async def start(storage: Node, user_id: str | None = None, **times: str) -> Session:
    """A session whose first token has the hash `1`, last used before `AT`."""
    owner = user_id or (await add_user(storage)).id
    return await add_session(
        storage, owner, b"1", **{"last_used_at": "2026-11-22T09:00:00.000Z", "expires_at": FAR_FUTURE} | times
    )


async def rotate(
    storage: Node,
    session_id: str,
    token: bytes,
    successor: bytes,
    at: str = AT,
    *,
    repeatable_for: int = 10,
    idle_since: str = LONG_AGO,
) -> Rotation | None:
    return await storage.sessions.rotate(
        session_id, token, successor, at=at, repeatable_for=repeatable_for, idle_since=idle_since
    )


async def set_time(storage: Node, session: Session, column: str, time: str) -> None:
    await storage.database.write(Query(f"UPDATE sessions SET {column} = '{time}' WHERE id = '{session.id}'", ()))


async def is_alive(storage: Node, session: Session) -> bool:
    return await storage.is_alive(session.id, AT)


# --- create and list -----------------------------------------------------------------------------


async def test_a_session_starts_only_with_the_current_password_hash(storage: Node) -> None:
    user = await add_user(storage)
    present = await storage.credentials.find_password_hash(user.id)

    await storage.sessions.create(new_session(user.id), b"1", present)
    await storage.credentials.change_password(user.id, "another hash", AT, UNKNOWN_ID)

    with pytest.raises(Unauthenticated):
        await storage.sessions.create(new_session(user.id), b"2", present)


async def test_a_session_is_listed_as_it_was_stored(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    session = await start(nodes[0], user.id)
    for node in nodes:
        assert list(await node.sessions.list(user.id, AT, LONG_AGO)) == [session]
        assert await is_alive(node, session)


async def test_no_session_starts_for_a_deleted_or_suspended_account(storage: Node) -> None:
    gone, suspended = await add_user(storage), await add_user(storage)
    await storage.users.delete(gone.id, None)
    await storage.users.change(suspended.id, UserChange(status="suspended"), AT, None)
    for user_id in (gone.id, suspended.id, UNKNOWN_ID):
        with pytest.raises(Unauthenticated):
            await start(storage, user_id)
        assert list(await storage.sessions.list(user_id, AT, LONG_AGO)) == []


async def test_the_list_has_the_active_sessions_of_one_account_latest_used_first(storage: Node) -> None:
    user = await add_user(storage)
    await start(storage)
    times = ["2026-11-22T09:00:00.002Z", "2026-11-22T09:00:00.003Z", "2026-11-22T09:00:00.001Z"]
    used = [await start(storage, user.id, last_used_at=time) for time in times]
    await start(storage, user.id, expires_at="2026-11-22T09:59:59.999Z")
    await start(storage, user.id, last_used_at="2026-11-22T08:59:59.999Z")
    ended = await start(storage, user.id)
    await storage.sessions.end(ended.id, user.id)
    listed = await storage.sessions.list(user.id, AT, "2026-11-22T09:00:00.000Z")
    assert [session.id for session in listed] == [used[1].id, used[0].id, used[2].id]


# --- rotate --------------------------------------------------------------------------------------


async def test_a_list_has_a_thousand_sessions_at_most(storage: Node) -> None:
    user = await add_user(storage)
    times = [clock.after(-seconds) for seconds in range(MAX_LISTED + 5)]
    await asyncio.gather(*[add_session(storage, user.id, last_used_at=at) for at in times])
    listed = await storage.sessions.list(user.id, clock.now(), LONG_AGO)
    assert [session.last_used_at for session in listed] == times[:MAX_LISTED]


async def test_a_refresh_replaces_the_token_with_its_successor(nodes: list[Node]) -> None:
    user = await add_user(nodes[0], name="Ada", metadata={"a": 1})
    session = await start(nodes[0], user.id)
    rotation = await rotate(nodes[0], session.id, b"1", b"2")
    assert rotation is not None
    assert plain(rotation.user) == plain(user)
    assert rotation.session == msgspec.structs.replace(session, last_used_at=AT)
    assert list(await nodes[1].sessions.list(user.id, AT, LONG_AGO)) == [rotation.session]
    following = await rotate(nodes[1], session.id, b"2", b"3", LATER)
    assert following is not None
    assert following.session.last_used_at == LATER


async def test_the_parent_token_gets_the_same_rotation_within_the_grace_period(nodes: list[Node]) -> None:
    session = await start(nodes[0])
    first = await rotate(nodes[0], session.id, b"1", b"2")
    for _ in range(3):
        again = await rotate(nodes[1], session.id, b"1", b"2", LATER)
        assert plain(again) == plain(first)
    assert await rotate(nodes[0], session.id, b"2", b"3", LATER) is not None


async def test_the_parent_token_ends_the_session_after_the_grace_period(nodes: list[Node]) -> None:
    session = await start(nodes[0])
    await rotate(nodes[0], session.id, b"1", b"2")
    assert await rotate(nodes[1], session.id, b"1", b"2", LATER, repeatable_for=0) is None
    assert not await is_alive(nodes[0], session)
    assert await rotate(nodes[0], session.id, b"2", b"3", LATER) is None
    assert session.id in await nodes[0].revocations.ended_within(60)


@pytest.mark.parametrize(
    ("seconds", "is_repeatable"), [(-60, False), (-11, False), (-9, True), (30, True), (90, False)]
)
async def test_the_grace_period_is_measured_by_the_clock_of_the_database(
    nodes: list[Node], seconds: int, is_repeatable: bool
) -> None:
    session = await start(nodes[0])
    assert await rotate(nodes[0], session.id, b"1", b"2") is not None
    await set_time(nodes[0], session, "rotated_at", clock.after(seconds))
    assert (await rotate(nodes[1], session.id, b"1", b"2") is not None) is is_repeatable
    assert await is_alive(nodes[0], session) is is_repeatable


@pytest.mark.parametrize("ahead", [-3600, -60, -30, 30, 60, 3600])
async def test_a_refresh_can_be_repeated_on_a_node_with_another_clock(nodes: list[Node], ahead: int) -> None:
    session = await start(nodes[0], last_used_at=clock.after(-DAY))
    first = await rotate(nodes[0], session.id, b"1", b"2", clock.after(ahead))
    again = await rotate(nodes[1], session.id, b"1", b"2", clock.now())
    assert first is not None
    assert plain(again) == plain(first)
    assert await rotate(nodes[1], session.id, b"2", b"3", clock.now()) is not None
    assert await rotate(nodes[0], session.id, b"3", b"4", clock.after(ahead)) is not None


@pytest.mark.parametrize("used", [0, 1, 2])
async def test_any_other_token_ends_the_session(storage: Node, used: int) -> None:
    session = await start(storage)
    for number in range(used):
        assert await rotate(storage, session.id, b"%d" % (number + 1), b"%d" % (number + 2)) is not None
    stolen = b"1" if used == 2 else b"forged"
    assert await rotate(storage, session.id, stolen, b"2") is None
    assert not await is_alive(storage, session)
    assert await rotate(storage, session.id, b"%d" % (used + 1), b"x") is None


async def test_the_current_token_is_not_treated_as_its_own_parent(storage: Node) -> None:
    session = await start(storage)
    await rotate(storage, session.id, b"1", b"2")
    assert await rotate(storage, session.id, b"1", b"other successor", LATER) is None
    assert not await is_alive(storage, session)


async def test_no_token_refreshes_an_ended_session(storage: Node) -> None:
    users = [await add_user(storage) for _ in range(5)]
    ended = await start(storage, users[0].id)
    await storage.sessions.end(ended.id, None)
    expired = await start(storage, users[1].id, expires_at=AT)
    idle = await start(storage, users[2].id, last_used_at="2026-11-22T08:59:59.999Z")
    suspended = await start(storage, users[3].id)
    await storage.users.change(users[3].id, UserChange(status="suspended"), AT, None)
    deleted = await start(storage, users[4].id)
    await storage.users.delete(users[4].id, None)
    for session in (ended, expired, idle, suspended, deleted):
        for token in (b"1", b"1"):
            assert await rotate(storage, session.id, token, b"2", idle_since="2026-11-22T09:00:00.000Z") is None
        assert not await is_alive(storage, session)
    assert await rotate(storage, UNKNOWN_ID, b"1", b"2") is None


async def test_concurrent_refreshes_with_one_token_get_the_same_rotation(nodes: list[Node]) -> None:
    for _ in range(5):
        session = await start(nodes[0])
        outcomes = await race(*[rotate(node, session.id, b"1", b"2") for node in nodes_in_turn(nodes)])
        assert outcomes[0] is not None
        assert [plain(outcome) for outcome in outcomes] == [plain(outcomes[0])] * WRITERS
        assert await is_alive(nodes[0], session)
        assert await rotate(nodes[1], session.id, b"2", b"3", LATER) is not None


async def test_exactly_one_of_many_refreshes_with_different_clocks_sets_the_time(nodes: list[Node]) -> None:
    session = await start(nodes[0])
    times = [f"2026-11-22T10:00:00.{number:03d}Z" for number in range(WRITERS)]
    outcomes = await race(
        *[rotate(node, session.id, b"1", b"2", time) for node, time in zip(nodes_in_turn(nodes), times, strict=True)]
    )
    assert {outcome.session.last_used_at for outcome in outcomes} == {outcomes[0].session.last_used_at}


async def test_one_of_many_refreshes_without_a_grace_period_succeeds_and_the_session_ends(nodes: list[Node]) -> None:
    session = await start(nodes[0])
    outcomes = await race(*[rotate(node, session.id, b"1", b"2", repeatable_for=0) for node in nodes_in_turn(nodes)])
    assert sum(outcome is not None for outcome in outcomes) == 1
    assert not await is_alive(nodes[0], session)


async def test_a_token_reuse_is_recorded_once_with_the_account(nodes: list[Node]) -> None:
    session = await start(nodes[0])
    entries = {node: new_entry() for node in range(WRITERS)}
    asked: list[str] = []

    def new_effects(number: int) -> Callable[[str], Effects]:
        def effects(user_id: str) -> Effects:
            asked.append(user_id)
            return effects_of((entries[number],), (new_job(user_id=user_id),))

        return effects

    outcomes = await race(
        *[
            node.sessions.rotate(session.id, b"stolen", b"2", AT, 10, LONG_AGO, new_effects(number))
            for number, node in enumerate(nodes_in_turn(nodes))
        ]
    )
    assert outcomes == [None] * WRITERS
    assert asked == [session.user_id]
    assert len(await entries_of(nodes[1])) == 1
    assert [claimed.job.user_id for claimed in await nodes[1].jobs.claim(10, 60)] == [session.user_id]


async def test_only_a_token_reuse_in_an_active_session_is_recorded(storage: Node) -> None:
    users = [await add_user(storage) for _ in range(5)]
    ended = await start(storage, users[0].id)
    await storage.sessions.end(ended.id, None)
    expired = await start(storage, users[1].id, expires_at=AT)
    idle = await start(storage, users[2].id, last_used_at="2026-11-22T08:59:59.999Z")
    suspended = await start(storage, users[3].id)
    await storage.users.change(users[3].id, UserChange(status="suspended"), AT, None)
    alive = await start(storage, users[4].id)

    def new_effects(user_id: str) -> Effects:
        raise AssertionError(user_id)

    for session_id in (ended.id, expired.id, idle.id, suspended.id, UNKNOWN_ID):
        for token in (b"1", b"stolen"):
            rotation = storage.sessions.rotate(session_id, token, b"2", AT, 10, "2026-11-22T09:00:00.000Z", new_effects)
            assert await rotation is None
    for _ in range(2):
        assert await storage.sessions.rotate(alive.id, b"1", b"2", AT, 10, LONG_AGO, new_effects) is not None


async def test_a_refresh_during_a_logout_never_revives_the_session(nodes: list[Node]) -> None:
    for _ in range(10):
        session = await start(nodes[0])
        _, ended = await race(rotate(nodes[0], session.id, b"1", b"2"), nodes[1].sessions.end(session.id, None))
        assert ended == session.user_id
        assert not await is_alive(nodes[0], session)
        assert await rotate(nodes[0], session.id, b"2", b"3") is None


async def test_a_refresh_during_a_suspension_never_keeps_the_session_active(nodes: list[Node]) -> None:
    for _ in range(10):
        session = await start(nodes[0])
        _, suspended = await race(
            rotate(nodes[0], session.id, b"1", b"2"),
            nodes[1].users.change(session.user_id, UserChange(status="suspended"), AT, None),
        )
        assert not isinstance(suspended, Exception)
        assert not await is_alive(nodes[0], session)


# --- find ----------------------------------------------------------------------------------------


async def test_a_session_is_found_until_it_ends(nodes: list[Node]) -> None:
    session, expired = await start(nodes[0]), await start(nodes[0], expires_at=LONG_AGO)
    for node in nodes:
        assert await node.sessions.find(session.id) == session
        assert await node.sessions.find(expired.id) == expired
        assert await node.sessions.find(UNKNOWN_ID) is None
    await nodes[0].sessions.end(session.id, None)
    assert await nodes[1].sessions.find(session.id) is None


# --- end -----------------------------------------------------------------------------------------


async def test_ending_a_session_returns_its_account_once(nodes: list[Node]) -> None:
    session = await start(nodes[0])
    assert await nodes[0].sessions.end(session.id, None) == session.user_id
    for node in nodes:
        assert not await is_alive(node, session)
        assert await node.sessions.end(session.id, None) is None
        assert await node.sessions.end(session.id, session.user_id) is None
        assert await node.sessions.end(UNKNOWN_ID, None) is None


async def test_ending_a_session_of_another_account_does_nothing(storage: Node) -> None:
    session, other = await start(storage), await add_user(storage)
    assert await storage.sessions.end(session.id, other.id) is None
    assert await is_alive(storage, session)
    assert await storage.sessions.end(session.id, session.user_id) == session.user_id


async def test_exactly_one_of_many_concurrent_calls_ends_a_session(nodes: list[Node]) -> None:
    session = await start(nodes[0])
    outcomes = await race(*[node.sessions.end(session.id, None) for node in nodes_in_turn(nodes)])
    assert sorted(outcomes, key=str) == sorted([session.user_id, *[None] * (WRITERS - 1)], key=str)


async def test_ending_all_sessions_leaves_other_accounts_alone(nodes: list[Node]) -> None:
    user, theirs = await add_user(nodes[0]), await start(nodes[0])
    mine = [await start(nodes[0], user.id) for _ in range(3)]
    await nodes[0].sessions.end(mine[0].id, None)
    assert sorted(await nodes[1].sessions.end_all(user.id)) == sorted(session.id for session in mine[1:])
    assert list(await nodes[0].sessions.end_all(user.id)) == []
    assert not any([await is_alive(nodes[0], session) for session in mine])
    assert await is_alive(nodes[0], theirs)


async def test_all_sessions_end_only_with_an_active_one_if_one_is_named(nodes: list[Node]) -> None:
    user, theirs = await add_user(nodes[0]), await start(nodes[0])
    mine = [await start(nodes[0], user.id) for _ in range(3)]
    await nodes[0].sessions.end(mine[0].id, None)
    entry = new_entry()
    for named in (mine[0].id, UNKNOWN_ID):
        assert list(await nodes[1].sessions.end_all(user.id, only_with=named, effects=[entry])) == []
    assert await entries_of(nodes[0]) == []
    assert await is_alive(nodes[0], mine[1])
    ended = await nodes[1].sessions.end_all(user.id, only_with=mine[1].id, effects=[entry])
    assert sorted(ended) == sorted(session.id for session in mine[1:])
    assert [entry.id for entry in await entries_of(nodes[0])] == [entry.id]
    assert await is_alive(nodes[0], theirs)


async def test_many_sessions_that_end_all_at_once_do_so_once(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    mine = [await start(nodes[0], user.id) for _ in range(WRITERS)]
    writers = zip(nodes_in_turn(nodes), mine, strict=True)
    outcomes = await race(
        *[
            node.sessions.end_all(user.id, only_with=session.id, effects=[new_entry(), EndAPIKeys(user.id)])
            for node, session in writers
        ]
    )
    assert sorted(id for ended in outcomes for id in ended) == sorted(session.id for session in mine)
    assert len(await entries_of(nodes[0])) == 1


# --- is_alive, ended_within, forget_expired ------------------------------------------------------


async def test_a_session_is_alive_until_it_expires(storage: Node) -> None:
    session = await start(storage, expires_at="2026-11-22T10:00:00.001Z")
    assert await storage.is_alive(session.id, AT)
    assert not await storage.is_alive(session.id, "2026-11-22T10:00:00.001Z")
    assert not await storage.is_alive(UNKNOWN_ID, AT)


async def test_every_end_of_a_session_is_visible_on_every_node_immediately(nodes: list[Node]) -> None:
    users = [await add_user(nodes[0]) for _ in range(7)]
    sessions = [await start(nodes[0], user.id) for user in users]
    await nodes[0].sessions.end(sessions[0].id, None)
    await nodes[0].sessions.end_all(users[1].id)
    await nodes[0].users.change(users[2].id, UserChange(status="suspended"), AT, None)
    await nodes[0].credentials.change_password(users[3].id, "hash", AT, UNKNOWN_ID)
    await nodes[0].users.delete(users[4].id, None)
    await rotate(nodes[0], sessions[5].id, b"forged", b"2")
    for node in nodes:
        assert sorted(await node.revocations.ended_within(60)) == sorted(session.id for session in sessions[:6])


async def test_sessions_that_ended_longer_ago_are_not_listed(nodes: list[Node]) -> None:
    session = await start(nodes[0])
    await nodes[0].sessions.end(session.id, None)
    async with asyncio.timeout(5):
        while session.id in await nodes[1].revocations.ended_within(1):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert session.id in await nodes[1].revocations.ended_within(60)


async def test_only_sessions_that_expired_before_the_given_time_are_deleted(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    kept = await start(nodes[0], user.id, expires_at=AT)
    over = await start(nodes[0], user.id, expires_at="2026-11-22T09:59:59.999Z")
    ended = await start(nodes[0], user.id)
    await nodes[0].sessions.end(ended.id, None)
    await race(*[node.sessions.forget_expired(AT) for node in nodes_in_turn(nodes)])
    assert await nodes[1].is_alive(kept.id, LONG_AGO)
    assert not await nodes[1].is_alive(over.id, LONG_AGO)
    assert list(await nodes[1].revocations.ended_within(60)) == [ended.id]


async def test_an_account_with_sessions_of_every_kind_can_be_deleted(storage: Node) -> None:
    user = await add_user(storage)
    await add_resource(storage, user.id)
    await start(storage, user.id, expires_at=LONG_AGO)
    await storage.sessions.create(new_session(user.id, expires_at=clock.after(DAY)), b"x" * 32)
    await storage.users.delete(user.id, None)
    assert await storage.users.find(user.id) is None
