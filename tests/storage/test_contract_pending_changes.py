"""The contract of pending changes of address, and of what the first proof of an address removes."""

from collections.abc import Awaitable, Callable, Mapping

import pytest

from kingpost import clock
from kingpost.accounts.one_time_tokens.store import OneTimeToken
from kingpost.accounts.users.store import UserChange
from kingpost.model import User
from tests.nodes import Node
from tests.storage.api_keys import add_key
from tests.storage.one_time_tokens import AT, SOON, add_token, new_token
from tests.storage.samples import (
    WRITERS,
    add_admin,
    add_session,
    add_user,
    effects_of,
    entries_of,
    new_entry,
    nodes_in_turn,
    race,
)
from tests.storage.test_contract_effects import add_factor

NEW = "countess@example.com"
BEFORE = "2026-11-22T11:15:30.122Z"


async def ask(storage: Node, user: User, email: str = NEW) -> tuple[User, OneTimeToken, OneTimeToken]:
    """Ask for a new address; return the account, and the tokens that confirm and stop the change."""
    confirm, stop = new_token(user, "change-email", email=email), new_token(user, "stop-email-change")
    change = UserChange(pending_email=email, pending_email_expires_at=confirm.expires_at)
    changed, _ = await storage.users.change(user.id, change, AT, None, effects_of(tokens=(confirm, stop)))
    return changed, confirm, stop


async def living(storage: Node, *tokens: OneTimeToken) -> list[bool]:
    return [await storage.one_time_tokens.find(token.token_hash, AT) is not None for token in tokens]


async def found(storage: Node, user: User) -> User:
    account = await storage.users.find(user.id)
    assert account is not None
    return account


async def test_a_pending_address_is_part_of_the_account_and_of_its_version(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    assert (user.pending_email, user.pending_email_expires_at) == (None, None)
    asked, confirm, stop = await ask(nodes[0], user)
    assert (asked.pending_email, asked.pending_email_expires_at, asked.version) == (NEW, SOON, 2)
    assert (asked.email, asked.email_verified) == (user.email, False)
    assert (await found(nodes[1], user)).pending_email == NEW
    assert await living(nodes[1], confirm, stop) == [True, True]
    again, newer, _ = await ask(nodes[1], user, "ada@example.com")
    assert (again.pending_email, again.version) == ("ada@example.com", 3)
    assert await living(nodes[0], confirm, stop, newer) == [False, False, True]


type End = Callable[[Node, User, OneTimeToken], Awaitable[object]]


async def reset(storage: Node, user: User, stop: OneTimeToken) -> None:
    token = await add_token(storage, user, "reset-password")
    assert await storage.one_time_tokens.reset_password(token.token_hash, "new hash", AT) is not None


ENDS: Mapping[str, End] = {
    "withdrawn": lambda s, u, t: s.users.change(
        u.id, UserChange(pending_email=None, pending_email_expires_at=None), AT, None
    ),
    "stopped": lambda s, u, t: s.one_time_tokens.stop_change(t.token_hash, AT),
    "expired": lambda s, u, t: s.users.end_expired_change(u.id, SOON),
    "suspended": lambda s, u, t: s.users.change(u.id, UserChange(status="suspended"), AT, None),
    "another address": lambda s, u, t: s.users.change(u.id, UserChange(email="b@c.d", email_key="b@c.d"), AT, None),
    "all sessions end": lambda s, u, t: s.sessions.end_all(u.id),
    "a new password": lambda s, u, t: s.credentials.change_password(u.id, "new hash", AT, None),
    "a reset": reset,
}


@pytest.mark.parametrize("way", ENDS)
async def test_every_end_of_a_pending_change_revokes_its_tokens_and_changes_the_version(
    nodes: list[Node], way: str
) -> None:
    user, other = await add_user(nodes[0]), await add_user(nodes[0])
    await ask(nodes[0], other, "other@example.com")
    asked, confirm, stop = await ask(nodes[0], user)
    await ENDS[way](nodes[1], asked, stop)
    ended = await found(nodes[0], user)
    assert (ended.pending_email, ended.pending_email_expires_at, ended.version) == (None, None, 3)
    assert await living(nodes[0], confirm, stop) == [False, False]
    assert await nodes[0].one_time_tokens.confirm_email(confirm.token_hash, AT) is None
    assert (await found(nodes[0], other)).pending_email == "other@example.com"


@pytest.mark.parametrize("way", ["suspended", "all sessions end", "expired"])
async def test_the_version_stays_where_nothing_is_pending(storage: Node, way: str) -> None:
    user = await add_user(storage)
    await ENDS[way](storage, user, new_token(user))
    assert (await found(storage, user)).version == (2 if way == "suspended" else 1)


async def test_other_changes_keep_a_pending_address(storage: Node) -> None:
    user = await add_user(storage)
    asked, confirm, stop = await ask(storage, user)
    await storage.users.change(user.id, UserChange(name="Ada", status="active"), AT, None)
    session = await add_session(storage, user.id)
    await storage.sessions.end(session.id, None)
    assert (await found(storage, user)).pending_email == asked.pending_email
    assert await living(storage, confirm, stop) == [True, True]


async def test_a_confirmed_address_is_no_longer_pending(storage: Node) -> None:
    user = await add_user(storage)
    _, confirm, stop = await ask(storage, user)
    outcome = await storage.one_time_tokens.confirm_email(confirm.token_hash, AT)
    assert outcome is not None
    moved = await found(storage, user)
    assert (moved.email, moved.pending_email) == (NEW, None)
    assert await storage.one_time_tokens.stop_change(stop.token_hash, AT) is None


async def test_a_change_is_stopped_or_confirmed_but_never_both(nodes: list[Node]) -> None:
    for _ in range(6):
        user = await add_user(nodes[0])
        _, confirm, stop = await ask(nodes[0], user, f"new.{user.email}")
        outcomes = await race(
            nodes[0].one_time_tokens.confirm_email(confirm.token_hash, AT),
            nodes[1].one_time_tokens.stop_change(stop.token_hash, AT),
        )
        assert [outcome is None for outcome in outcomes].count(True) == 1
        assert ((await found(nodes[0], user)).email == user.email) is (outcomes[0] is None)


async def test_exactly_one_of_many_stops_takes_effect(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    _, _, stop = await ask(nodes[0], user)
    calls = [
        node.one_time_tokens.stop_change(stop.token_hash, AT, effects_of((new_entry(),)))
        for node in nodes_in_turn(nodes)
    ]
    outcomes = await race(*calls)
    assert outcomes.count(None) == WRITERS - 1
    assert len(await entries_of(nodes[0])) == 1
    assert (await found(nodes[0], user)).version == 3


async def test_expired_changes_are_found_and_end_once(nodes: list[Node]) -> None:
    users = [await add_user(nodes[0]) for _ in range(3)]
    for number, user in enumerate(users[:2]):
        await ask(nodes[0], user, f"{number}@example.com")
    assert await nodes[1].users.with_expired_changes(BEFORE) == []
    assert sorted(await nodes[1].users.with_expired_changes(SOON)) == sorted(user.id for user in users[:2])
    early = await nodes[0].users.end_expired_change(users[0].id, BEFORE)
    assert early is not None
    assert (early.pending_email, early.version) == ("0@example.com", 2)
    outcomes = await race(*[node.users.end_expired_change(users[0].id, SOON) for node in nodes_in_turn(nodes)])
    assert {(user.pending_email, user.version) for user in outcomes} == {(None, 3)}
    assert await nodes[0].users.with_expired_changes(SOON) == [users[1].id]
    assert await nodes[0].users.end_expired_change("019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a", SOON) is None


# --- the first proof -----------------------------------------------------------------------------


async def set_up(storage: Node, user: User) -> tuple[str, str, OneTimeToken]:
    """Set up everything that a stranger could; return the ids of a session and a key, and a token of a change."""
    session, key = await add_session(storage, user.id), await add_key(storage, user.id)
    await add_factor(storage, user)
    _, confirm, _ = await ask(storage, user)
    return session.id, key.id, confirm


async def left_of(storage: Node, user: User) -> list[bool]:
    """Whether there are sessions, keys, a second factor and a pending change."""
    now = clock.now()
    return [
        bool(await storage.sessions.list(user.id, now, "2000-01-01T00:00:00.000Z")),
        bool(await storage.api_keys.list(user.id)),
        await storage.second_factors.find(user.id) is not None,
        (await found(storage, user)).pending_email is not None,
    ]


@pytest.mark.parametrize("proof", ["verify-email", "reset-password"])
async def test_the_first_proof_of_an_address_removes_what_was_set_up_before(nodes: list[Node], proof: str) -> None:
    user, other = await add_user(nodes[0]), await add_user(nodes[0])
    session_id, _, confirm = await set_up(nodes[0], user)
    await add_factor(nodes[0], other)
    removed, entry = new_entry("removed"), new_entry("proved")
    if proof == "verify-email":
        token = await add_token(nodes[0], user)
        outcome = await nodes[1].one_time_tokens.confirm_email(token.token_hash, AT, [entry], if_removed=[removed])
    else:
        token = await add_token(nodes[0], user, "reset-password")
        outcome = await nodes[1].one_time_tokens.reset_password(
            token.token_hash, "new hash", AT, [entry], if_removed=[removed]
        )
    assert outcome is not None
    assert (outcome[0].email_verified, list(outcome[1])) == (True, [session_id])
    assert await left_of(nodes[0], user) == [False] * 4
    assert await living(nodes[0], confirm) == [False]
    assert not await nodes[0].is_alive(session_id, clock.now())
    assert {found.id for found in await entries_of(nodes[0])} == {entry.id, removed.id}
    assert await nodes[0].second_factors.find(other.id) is not None


@pytest.mark.parametrize("by", ["its session", "an ended session", "another account's session", "nobody"])
async def test_an_active_session_of_the_account_spares_what_was_set_up(nodes: list[Node], by: str) -> None:
    user, other = await add_user(nodes[0]), await add_user(nodes[0])
    session_id, _, _ = await set_up(nodes[0], user)
    spared_by: str | None = session_id
    if by == "an ended session":
        await nodes[0].sessions.end(session_id, None)
    elif by == "another account's session":
        spared_by = (await add_session(nodes[0], other.id)).id
    elif by == "nobody":
        spared_by = None
    token, removed = await add_token(nodes[0], user), new_entry("removed")
    outcome = await nodes[1].one_time_tokens.confirm_email(
        token.token_hash, AT, spared_by=spared_by, if_removed=[removed]
    )
    assert outcome is not None
    is_spared = by == "its session"
    assert await left_of(nodes[0], user) == [is_spared] * 4
    assert len(await entries_of(nodes[0])) == (0 if is_spared else 1)


@pytest.mark.parametrize("what", ["nothing", "session", "key", "factor", "enrolment", "change"])
async def test_each_thing_that_was_set_up_is_recorded_and_nothing_is_not(storage: Node, what: str) -> None:
    user, removed = await add_user(storage), new_entry("removed")
    match what:
        case "session":
            await add_session(storage, user.id)
        case "key":
            await add_key(storage, user.id)
        case "factor":
            await add_factor(storage, user)
        case "enrolment":
            await storage.second_factors.begin(user.id, b"sealed", AT)
        case "change":
            await ask(storage, user)
    token = await add_token(storage, user)
    await storage.one_time_tokens.confirm_email(token.token_hash, AT, if_removed=[removed])
    assert len(await entries_of(storage)) == (0 if what == "nothing" else 1)
    assert await left_of(storage, user) == [False] * 4


async def test_later_proofs_remove_nothing_but_a_reset_ends_sessions(storage: Node) -> None:
    user = await add_user(storage)
    first = await add_token(storage, user)
    await storage.one_time_tokens.confirm_email(first.token_hash, AT)
    await set_up(storage, user)
    again, removed = await add_token(storage, user), new_entry()
    await storage.one_time_tokens.confirm_email(again.token_hash, AT, if_removed=[removed])
    assert await left_of(storage, user) == [True] * 4
    token = await add_token(storage, user, "reset-password")
    await storage.one_time_tokens.reset_password(token.token_hash, "new hash", AT, if_removed=[removed])
    assert await left_of(storage, user) == [False, True, True, False]
    assert await entries_of(storage) == []


async def test_a_first_proof_beside_other_writes_neither_deadlocks_nor_leaves_anything(nodes: list[Node]) -> None:
    await add_admin(nodes[0])
    for _ in range(4):
        user = await add_user(nodes[0])
        session_id, key_id, _ = await set_up(nodes[0], user)
        token = await add_token(nodes[0], user, "reset-password")
        outcomes = await race(
            nodes[1].one_time_tokens.reset_password(token.token_hash, "new hash", AT),
            nodes[0].sessions.end_all(user.id),
            nodes[0].second_factors.use_recovery_code(user.id, b"a code"),
            nodes[1].second_factors.remove(user.id),
            nodes[0].api_keys.delete(key_id),
            nodes[1].sessions.end(session_id, None),
            nodes[0].users.change(user.id, UserChange(name="Ada"), AT, None),
            nodes[1].one_time_tokens.issue(new_token(user)),
            nodes[0].users.end_expired_change(user.id, SOON),
        )
        assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
        assert await left_of(nodes[0], user) == [False] * 4
