"""The contract of effects: for every write, they commit with the write or not at all.

The tables below have a row for every method of a store that takes effects; a missing row fails the tests.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

import pytest

from kingpost import clock
from kingpost.accounts.one_time_tokens.store import Purpose
from kingpost.accounts.users.store import UserChange
from kingpost.auth.signing_keys.store import SealedKey
from kingpost.jobs.store import Claim, Superseded
from kingpost.main import Stores
from kingpost.model import User
from kingpost.problems import Conflict, NotFound, Unauthenticated, VersionMismatch
from kingpost.resources.store import CreateResource, DeleteResource, Refused, ReplaceResource, ResourceWrite
from kingpost.storage.columns import metadata
from kingpost.storage.database import Query
from kingpost.storage.effects import Effects
from tests.nodes import Node
from tests.storage import api_keys
from tests.storage.one_time_tokens import AT, add_token, new_token
from tests.storage.samples import (
    LONG_AGO,
    Given,
    Write,
    add_admin,
    add_resource,
    add_session,
    add_user,
    effects_of,
    entries_of,
    id_and_time,
    new_entry,
    new_job,
    new_resource,
    new_session,
    nodes_in_turn,
    race,
    raw,
    tally,
)

UNKNOWN_ID = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"


def new_user(email: str) -> User:
    user_id, now = id_and_time()
    return User(user_id, email, False, None, raw({}), ("user",), "active", 1, now, now)


def new_signing_key() -> SealedKey:
    key_id, now = id_and_time()
    return SealedKey(key_id, "ES256", b"sealed", now)


# --- the writes ----------------------------------------------------------------------------------


def plainly(write: Callable[[Node, User, Effects], Any]) -> Given:
    """A write that needs only the account."""

    async def given(storage: Node, user: User) -> Write:
        return lambda node, effects: write(node, user, effects)

    return given


def reuse(token_hash: bytes, *, is_ended: bool = False) -> Given:
    """A refresh with a token that is not the current token of the session."""

    async def given(storage: Node, user: User) -> Write:
        session, now = await add_session(storage, user.id, b"first"), clock.now()
        if is_ended:
            await storage.sessions.end(session.id, None)
        return lambda node, effects: node.sessions.rotate(
            session.id, token_hash, b"next", now, 10, LONG_AGO, lambda user_id: effects
        )

    return given


async def end_session(storage: Node, user: User) -> Write:
    session = await add_session(storage, user.id)
    return lambda node, effects: node.sessions.end(session.id, user.id, effects)


async def end_all_sessions(storage: Node, user: User) -> Write:
    await add_session(storage, user.id)
    return lambda node, effects: node.sessions.end_all(user.id, effects=effects)


def confirm_factor(sealed: bytes = b"sealed") -> Given:
    async def given(storage: Node, user: User) -> Write:
        await storage.second_factors.begin(user.id, b"sealed", AT)
        return lambda node, effects: node.second_factors.confirm(user.id, sealed, 1, [b"a code"], AT, effects)

    return given


async def add_factor(storage: Node, user: User) -> None:
    await storage.second_factors.begin(user.id, b"sealed", AT)
    await storage.second_factors.confirm(user.id, b"sealed", 1, [b"a code"], AT)


async def begin_again(storage: Node, user: User) -> Write:
    await add_factor(storage, user)
    return lambda node, effects: node.second_factors.begin(user.id, b"another", AT, effects)


def use_code(code_hash: bytes = b"a code") -> Given:
    async def given(storage: Node, user: User) -> Write:
        await add_factor(storage, user)
        return lambda node, effects: node.second_factors.use_recovery_code(user.id, code_hash, effects)

    return given


async def remove_factor(storage: Node, user: User) -> Write:
    await add_factor(storage, user)
    return lambda node, effects: node.second_factors.remove(user.id, effects)


def add_signing_key(newest_id: str | None = None) -> Given:
    async def given(storage: Node, user: User) -> Write:
        first = new_signing_key()
        await storage.signing_keys.add_first(first)
        return lambda node, effects: node.signing_keys.add_after(newest_id or first.id, new_signing_key(), effects)

    return given


def remove_signing_key(superseded_by: str | None = None) -> Given:
    async def given(storage: Node, user: User) -> Write:
        first = new_signing_key()
        await storage.signing_keys.add_first(first)
        await storage.signing_keys.add_after(first.id, new_signing_key())
        return lambda node, effects: node.signing_keys.remove(first.id, effects, superseded_by=superseded_by)

    return given


def renew_token(purpose: Purpose = "verify-email") -> Given:
    async def given(storage: Node, user: User) -> Write:
        await add_token(storage, user, purpose)
        return lambda node, effects: node.one_time_tokens.renew(new_token(user), effects)

    return given


def confirm_email(email: str | None = None) -> Given:
    async def given(storage: Node, user: User) -> Write:
        token = await add_token(storage, user, "change-email", email=email)
        return lambda node, effects: node.one_time_tokens.confirm_email(token.token_hash, AT, effects)

    return given


async def confirm_taken_email(storage: Node, user: User) -> Write:
    return await confirm_email((await add_user(storage)).email)(storage, user)


async def stop_change(storage: Node, user: User) -> Write:
    token = await add_token(storage, user, "stop-email-change")
    return lambda node, effects: node.one_time_tokens.stop_change(token.token_hash, AT, effects)


async def reset_password(storage: Node, user: User) -> Write:
    token = await add_token(storage, user, "reset-password")
    return lambda node, effects: node.one_time_tokens.reset_password(token.token_hash, "new hash", AT, effects)


def commit(*, versions: tuple[int, ...] | None = None, owner_id: str | None = None, count: int = 3) -> Given:
    """A unit that creates, replaces and deletes; or its first `count` writes."""

    async def given(storage: Node, user: User) -> Write:
        replaced, deleted = await add_resource(storage, user.id), await add_resource(storage, user.id)
        writes: list[ResourceWrite] = [
            ReplaceResource(replaced.id, raw({}), AT, versions),
            CreateResource(new_resource(owner_id or user.id)),
            DeleteResource(deleted.id, versions),
        ]
        return lambda node, effects: node.resources.commit(writes[:count], effects)

    return given


WRITES: Mapping[str, Given] = {
    "users.create": plainly(lambda s, u, e: s.users.create(new_user("new@example.com"), "new@example.com", "hash", e)),
    "users.change": plainly(lambda s, u, e: s.users.change(u.id, UserChange(name="Ada"), AT, None, e)),
    "users.delete": plainly(lambda s, u, e: s.users.delete(u.id, None, e)),
    "credentials.change_password": plainly(
        lambda s, u, e: s.credentials.change_password(u.id, "new hash", AT, UNKNOWN_ID, e)
    ),
    "sessions.create": plainly(lambda s, u, e: s.sessions.create(new_session(u.id), b"hash", None, e)),
    "sessions.rotate": reuse(b"another"),
    "sessions.end": end_session,
    "sessions.end_all": end_all_sessions,
    "second_factors.begin": plainly(lambda s, u, e: s.second_factors.begin(u.id, b"sealed", AT, e)),
    "second_factors.confirm": confirm_factor(),
    "second_factors.use_recovery_code": use_code(),
    "second_factors.remove": remove_factor,
    "api_keys.create": api_keys.creation,
    "api_keys.delete": api_keys.deletion,
    "signing_keys.add_after": add_signing_key(),
    "signing_keys.remove": remove_signing_key(),
    "one_time_tokens.issue": plainly(lambda s, u, e: s.one_time_tokens.issue(new_token(u), e)),
    "one_time_tokens.renew": renew_token(),
    "one_time_tokens.confirm_email": confirm_email("new@example.com"),
    "one_time_tokens.stop_change": stop_change,
    "one_time_tokens.reset_password": reset_password,
    "resources.commit": commit(),
}
"""Writes that succeed."""

REFUSED: Mapping[str, tuple[object, Given]] = {
    "users.create, the address is taken": (
        Conflict,
        plainly(lambda s, u, e: s.users.create(new_user(u.email), u.email.lower(), "hash", e)),
    ),
    "users.change, no such account": (
        NotFound,
        plainly(lambda s, u, e: s.users.change(UNKNOWN_ID, UserChange(name="Ada"), AT, None, e)),
    ),
    "users.change, another version": (
        VersionMismatch,
        plainly(lambda s, u, e: s.users.change(u.id, UserChange(name="Ada"), AT, [7], e)),
    ),
    "users.delete, no such account": (NotFound, plainly(lambda s, u, e: s.users.delete(UNKNOWN_ID, None, e))),
    "users.delete, another version": (VersionMismatch, plainly(lambda s, u, e: s.users.delete(u.id, [7], e))),
    "credentials.change_password, no such account": (
        NotFound,
        plainly(lambda s, u, e: s.credentials.change_password(UNKNOWN_ID, "hash", AT, UNKNOWN_ID, e)),
    ),
    "sessions.create, another password": (
        Unauthenticated,
        plainly(lambda s, u, e: s.sessions.create(new_session(u.id), b"hash", "another hash", e)),
    ),
    "sessions.rotate, an ended session": (None, reuse(b"another", is_ended=True)),
    "sessions.end, no such session": (None, plainly(lambda s, u, e: s.sessions.end(UNKNOWN_ID, None, e))),
    "second_factors.begin, no such account": (
        Unauthenticated,
        plainly(lambda s, u, e: s.second_factors.begin(UNKNOWN_ID, b"sealed", AT, e)),
    ),
    "second_factors.begin, one exists": (Conflict, begin_again),
    "second_factors.confirm, another enrolment": (Conflict, confirm_factor(b"another")),
    "second_factors.use_recovery_code, no such code": (None, use_code(b"another")),
    "second_factors.remove, none": (False, plainly(lambda s, u, e: s.second_factors.remove(u.id, e))),
    "api_keys.create, one too many": (Conflict, api_keys.creation_over_the_limit),
    "api_keys.delete, no such key": (False, plainly(lambda s, u, e: s.api_keys.delete(UNKNOWN_ID, e))),
    "signing_keys.add_after, another newest": (False, add_signing_key(UNKNOWN_ID)),
    "signing_keys.remove, no such successor": (False, remove_signing_key(UNKNOWN_ID)),
    "one_time_tokens.issue, no such account": (
        NotFound,
        plainly(lambda s, u, e: s.one_time_tokens.issue(new_token(new_user("a@example.com")), e)),
    ),
    "one_time_tokens.renew, none": (False, renew_token("reset-password")),
    "one_time_tokens.confirm_email, no such token": (
        None,
        plainly(lambda s, u, e: s.one_time_tokens.confirm_email(b"unknown", AT, e)),
    ),
    "one_time_tokens.confirm_email, the address is taken": (Conflict, confirm_taken_email),
    "one_time_tokens.stop_change, no such token": (
        None,
        plainly(lambda s, u, e: s.one_time_tokens.stop_change(b"unknown", AT, e)),
    ),
    "one_time_tokens.reset_password, no such token": (
        None,
        plainly(lambda s, u, e: s.one_time_tokens.reset_password(b"unknown", "hash", AT, e)),
    ),
    "resources.commit, one of another version": (VersionMismatch, commit(versions=(7,), count=1)),
    "resources.commit, some of another version": (Refused, commit(versions=(7,))),
    "resources.commit, no such owner": (Refused, commit(owner_id=UNKNOWN_ID)),
}
"""Writes that are refused, and the exception or the result that the caller gets."""

NEVER_REFUSED = {"sessions.end_all"}


def takes_effects(method: Any) -> bool:
    return any("effects" in str(parameter).lower() for parameter in inspect.signature(method).parameters.values())


def test_the_tables_list_every_write_that_takes_effects() -> None:
    writes = {
        f"{name}.{method_name}"
        for name, port in get_type_hints(Stores).items()
        for method_name, method in inspect.getmembers(port, inspect.isfunction)
        if not method_name.startswith("_") and takes_effects(method)
    }
    assert WRITES.keys() == writes
    assert {name.partition(",")[0] for name in REFUSED} | NEVER_REFUSED == writes


async def bystanders(storage: Node) -> User:
    """An account to write to, and an administrator so that the account can be deleted."""
    await add_admin(storage)
    return await add_user(storage)


async def stored(storage: Node, excluded: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return all rows of the database, by table, without the tables in `excluded`."""
    names = sorted(set(metadata.tables) - set(excluded))
    rows = {name: await storage.database.read(Query(f"SELECT * FROM {name}", ())) for name in names}
    return {name: sorted(str(tuple(row)) for row in rows[name]) for name in names}


EFFECTS = ("audit", "jobs")


@pytest.mark.parametrize("name", WRITES)
async def test_entries_and_jobs_are_stored_with_the_write(nodes: list[Node], name: str) -> None:
    user = await bystanders(nodes[0])
    session = await add_session(nodes[0], (await add_user(nodes[0])).id)
    write = await WRITES[name](nodes[0], user)
    before = await stored(nodes[1], EFFECTS)
    entries = (new_entry(target_id=user.id, details={"n": 1}, address=None), new_entry(address=None))
    jobs = (new_job("a"), new_job("b"))
    await write(nodes[0], effects_of(entries, jobs, session_id=session.id))
    assert await stored(nodes[1], EFFECTS) != before
    assert [(entry.id, entry.action) for entry in await entries_of(nodes[1])] == [(e.id, e.action) for e in entries]
    assert [claimed.job for claimed in await nodes[1].jobs.claim(10, 60)] == list(jobs)


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refused_write_stores_no_effects(nodes: list[Node], name: str) -> None:
    user = await bystanders(nodes[0])
    await nodes[0].jobs.add(new_job("held"))
    (held,) = await nodes[0].jobs.claim(1, 60)
    outcome, given = REFUSED[name]
    write = await given(nodes[0], user)
    before = await stored(nodes[1])
    (result,) = await race(write(nodes[0], effects_of((new_entry(),), (new_job(),), held.claim)))
    assert outcome == (type(result) if isinstance(result, Exception) else result)
    assert await stored(nodes[1]) == before
    # The job that the write would have finished is still held.
    await nodes[0].users.change(user.id, UserChange(name="Ada"), AT, None, effects_of(finishes=held.claim))


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_is_rolled_back_when_an_entry_cannot_be_stored(nodes: list[Node], name: str) -> None:
    user = await bystanders(nodes[0])
    entry = new_entry()
    await nodes[0].audit.add(entry)
    write = await WRITES[name](nodes[0], user)
    before = await stored(nodes[1])
    # Each database reports a duplicate entry differently.
    (result,) = await race(write(nodes[0], effects_of((new_entry(), entry), (new_job(),))))
    assert isinstance(result, Exception)
    assert await stored(nodes[1]) == before


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_for_a_session_that_ended_on_another_node_is_rolled_back(nodes: list[Node], name: str) -> None:
    user = await bystanders(nodes[0])
    session = await add_session(nodes[0], user.id)
    write = await WRITES[name](nodes[0], user)
    await nodes[1].sessions.end(session.id, None)
    before = await stored(nodes[1])
    with pytest.raises(Unauthenticated):
        await write(nodes[0], effects_of((new_entry(),), (new_job(),), session_id=session.id))
    assert await stored(nodes[1]) == before


# --- finishing a job ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_that_finishes_a_job_deletes_the_job(nodes: list[Node], name: str) -> None:
    user = await bystanders(nodes[0])
    await nodes[0].jobs.add(new_job())
    (held,) = await nodes[0].jobs.claim(1, 0)
    write = await WRITES[name](nodes[0], user)
    await write(nodes[1], effects_of(finishes=held.claim))
    assert list(await nodes[0].jobs.claim(10, 60)) == []


async def superseded_claims(storage: Node) -> dict[str, Claim]:
    """One claim for each way in which a claim becomes invalid."""
    claims = {}
    for way in ("done", "given up", "claimed again"):
        await storage.jobs.add(new_job(way))
        (held,) = await storage.jobs.claim(1, 0)
        match way:
            case "done":
                await storage.jobs.finish(held.claim)
            case "given up":
                await storage.jobs.put_off(held.claim, "no use", None)
            case "claimed again":
                await storage.jobs.claim(1, 60)
        claims[way] = held.claim
    return claims | {"never made": Claim(UNKNOWN_ID, 1)}


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_with_an_invalid_claim_is_rolled_back(nodes: list[Node], name: str) -> None:
    user = await bystanders(nodes[0])
    write = await WRITES[name](nodes[0], user)
    claims = await superseded_claims(nodes[1])
    before = await stored(nodes[1])
    for way, claim in claims.items():
        with pytest.raises(Superseded):
            await write(nodes[0], effects_of((new_entry(),), (new_job(),), claim))
        assert await stored(nodes[1]) == before, way


async def test_exactly_one_of_many_writes_that_finish_a_job_takes_effect(nodes: list[Node]) -> None:
    user = await bystanders(nodes[0])
    await nodes[0].jobs.add(new_job())
    (held,) = await nodes[0].jobs.claim(1, 60)
    writers = nodes_in_turn(nodes)
    outcomes = await race(
        *[
            node.users.change(
                user.id, UserChange(name=f"{n}"), AT, None, effects_of((new_entry(),), finishes=held.claim)
            )
            for n, node in enumerate(writers)
        ]
    )
    assert tally(outcomes) == {"won": 1, "Superseded": len(writers) - 1}
    assert len(await entries_of(nodes[0])) == 1
    found = await nodes[1].users.find(user.id)
    assert found is not None
    assert found.version == 2


async def test_concurrent_writes_keep_their_own_effects(nodes: list[Node]) -> None:
    taken = await add_user(nodes[0], email="taken@example.com")
    entries, emails = [], []
    for n in range(16):
        emails.append(f"{n}@example.com" if n % 2 else taken.email)
        entries.append(new_entry(details={"n": n}))
    outcomes = await race(
        *[
            node.users.create(new_user(email), email, "hash", effects_of((entry,), (new_job(str(n)),)))
            for n, (node, email, entry) in enumerate(zip(nodes_in_turn(nodes), emails, entries, strict=True))
        ]
    )
    assert tally(outcomes) == {"won": 8, "Conflict": 8}
    assert {entry.id for entry in await entries_of(nodes[1])} == {entry.id for entry in entries[1::2]}
    assert {claimed.job.kind for claimed in await nodes[1].jobs.claim(100, 60)} == {str(n) for n in range(1, 16, 2)}
