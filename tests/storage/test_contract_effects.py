"""The contract of effects: they commit with their write, or not at all, whichever write it is."""

from collections.abc import Awaitable, Callable

import pytest

from kingpost.accounts.users.store import UserChange
from kingpost.jobs.store import Claim, Superseded
from kingpost.model import User
from kingpost.problems import Conflict, NotFound, Unauthenticated, VersionMismatch
from kingpost.storage.effects import Effects
from tests.nodes import Node
from tests.storage.api_keys import new_key
from tests.storage.samples import (
    add_admin,
    add_session,
    add_user,
    effects_of,
    entries_of,
    id_and_time,
    new_entry,
    new_job,
    new_session,
    race,
    raw,
    takes_turns,
    tally,
)

NOBODY = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"
AT = "2026-11-22T10:00:00.000Z"

type Write = Callable[[Node, User, Effects], Awaitable[object]]


def new_user(email: str) -> User:
    user_id, now = id_and_time()
    return User(user_id, email, False, None, raw({}), ("user",), "active", 1, now, now)


async def end_one(storage: Node, user: User, effects: Effects) -> object:
    session = await add_session(storage, user.id)
    return await storage.sessions.end(session.id, user.id, effects)


WRITES: dict[str, Write] = {
    "users.create": lambda s, u, c: s.users.create(new_user("new@example.com"), "new@example.com", "hash", c),
    "users.change": lambda s, u, c: s.users.change(u.id, UserChange(name="Ada"), AT, None, c),
    "users.change_password": lambda s, u, c: s.credentials.change_password(u.id, "new hash", AT, NOBODY, c),
    "users.delete": lambda s, u, c: s.users.delete(u.id, None, c),
    "sessions.create": lambda s, u, c: s.sessions.create(new_session(u.id), b"hash", None, c),
    "sessions.end": end_one,
    "api_keys.create": lambda s, u, c: s.api_keys.create(new_key(u.id), b"hash", 10, c),
    "sessions.end_all": lambda s, u, c: s.sessions.end_all(u.id, effects=c),
}

FAILING: dict[str, tuple[type[Exception], Write]] = {
    "users.create, the address is taken": (
        Conflict,
        lambda s, u, c: s.users.create(new_user(u.email), u.email.lower(), "hash", c),
    ),
    "users.change, no such account": (
        NotFound,
        lambda s, u, c: s.users.change(NOBODY, UserChange(name="Ada"), AT, None, c),
    ),
    "users.change, another version": (
        VersionMismatch,
        lambda s, u, c: s.users.change(u.id, UserChange(name="Ada"), AT, [7], c),
    ),
    "users.change_password, no such account": (
        NotFound,
        lambda s, u, c: s.credentials.change_password(NOBODY, "hash", AT, NOBODY, c),
    ),
    "users.delete, another version": (VersionMismatch, lambda s, u, c: s.users.delete(u.id, [7], c)),
    "sessions.create, another password": (
        Unauthenticated,
        lambda s, u, c: s.sessions.create(new_session(u.id), b"hash", "another hash", c),
    ),
}


async def bystanders(storage: Node) -> User:
    """An account to write to, and an administrator so that it can go."""
    await add_admin(storage)
    return await add_user(storage)


@pytest.mark.parametrize("name", WRITES)
async def test_entries_and_jobs_are_there_once_the_write_is(nodes: list[Node], name: str) -> None:
    user = await bystanders(nodes[0])
    entries = (new_entry(target_id=user.id, details={"n": 1}, address=None), new_entry(address=None))
    jobs = (new_job("a"), new_job("b"))
    await WRITES[name](nodes[0], user, effects_of(entries, jobs))
    assert [(entry.id, entry.action) for entry in await entries_of(nodes[1])] == [(e.id, e.action) for e in entries]
    assert [claimed.job for claimed in await nodes[1].jobs.claim(10, 60)] == list(jobs)


@pytest.mark.parametrize("name", FAILING)
async def test_a_write_that_fails_leaves_none_of_them(nodes: list[Node], name: str) -> None:
    user = await bystanders(nodes[0])
    await nodes[0].jobs.add(new_job("held"))
    (held,) = await nodes[0].jobs.claim(1, 60)
    error, write = FAILING[name]
    with pytest.raises(error):
        await write(nodes[0], user, effects_of((new_entry(),), (new_job(),), held.claim))
    assert await entries_of(nodes[1]) == []
    assert list(await nodes[1].jobs.claim(10, 60)) == []
    # The job that the write would have finished is still held.
    await nodes[0].users.change(user.id, UserChange(name="Ada"), AT, None, effects_of(finishes=held.claim))


async def test_ending_a_session_that_is_none_tells_nothing(storage: Node) -> None:
    assert await storage.sessions.end(NOBODY, None, effects_of((new_entry(),), (new_job(),))) is None
    assert await entries_of(storage) == []
    assert list(await storage.jobs.claim(10, 60)) == []


async def test_a_write_is_undone_when_one_of_its_entries_cannot_be_stored(nodes: list[Node]) -> None:
    user = await bystanders(nodes[0])
    entry, job = new_entry(), new_job()
    await nodes[0].audit.add(entry)
    with pytest.raises(Exception, match=r"."):
        await nodes[0].users.change(user.id, UserChange(name="Ada"), AT, None, effects_of((new_entry(), entry), (job,)))
    assert await nodes[1].users.find(user.id) == user
    assert [found.id for found in await entries_of(nodes[1])] == [entry.id]
    assert list(await nodes[1].jobs.claim(10, 60)) == []


# --- finishing a job ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_that_finishes_a_job_drops_it(nodes: list[Node], name: str) -> None:
    user = await bystanders(nodes[0])
    await nodes[0].jobs.add(new_job())
    (held,) = await nodes[0].jobs.claim(1, 0)
    await WRITES[name](nodes[1], user, effects_of(finishes=held.claim))
    assert list(await nodes[0].jobs.claim(10, 60)) == []


async def superseded_claims(storage: Node) -> dict[str, Claim]:
    """A claim for each way in which one stops being good."""
    claims = {}
    for way in ("done", "given up", "claimed anew"):
        await storage.jobs.add(new_job(way))
        (held,) = await storage.jobs.claim(1, 0)
        match way:
            case "done":
                await storage.jobs.finish(held.claim)
            case "given up":
                await storage.jobs.put_off(held.claim, "no use", None)
            case "claimed anew":
                await storage.jobs.claim(1, 60)
        claims[way] = held.claim
    return claims | {"never made": Claim(NOBODY, 1)}


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_under_a_claim_that_is_no_longer_good_is_undone(nodes: list[Node], name: str) -> None:
    user = await bystanders(nodes[0])
    for way, claim in (await superseded_claims(nodes[1])).items():
        with pytest.raises(Superseded):
            await WRITES[name](nodes[0], user, effects_of((new_entry(),), (new_job(),), claim))
        assert await nodes[1].users.find(user.id) == user, way
        assert await nodes[1].credentials.find_credentials("new@example.com") is None
        assert await nodes[1].credentials.find_password_hash(user.id) == f"hash of {user.email}"
        assert await entries_of(nodes[1]) == []
        assert list(await nodes[1].jobs.claim(10, 60)) == []


async def test_of_many_writes_that_finish_one_job_exactly_one_takes_effect(nodes: list[Node]) -> None:
    user = await bystanders(nodes[0])
    await nodes[0].jobs.add(new_job())
    (held,) = await nodes[0].jobs.claim(1, 60)
    writers = takes_turns(nodes)
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


async def test_writes_side_by_side_each_keep_their_own_consequences(nodes: list[Node]) -> None:
    taken = await add_user(nodes[0], email="taken@example.com")
    entries, emails = [], []
    for n in range(16):
        emails.append(f"{n}@example.com" if n % 2 else taken.email)
        entries.append(new_entry(details={"n": n}))
    outcomes = await race(
        *[
            node.users.create(new_user(email), email, "hash", effects_of((entry,), (new_job(str(n)),)))
            for n, (node, email, entry) in enumerate(zip(takes_turns(nodes), emails, entries, strict=True))
        ]
    )
    assert tally(outcomes) == {"won": 8, "Conflict": 8}
    assert {entry.id for entry in await entries_of(nodes[1])} == {entry.id for entry in entries[1::2]}
    assert {claimed.job.kind for claimed in await nodes[1].jobs.claim(100, 60)} == {str(n) for n in range(1, 16, 2)}


async def test_a_write_for_a_session_that_has_ended_elsewhere_is_undone(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    session = await add_session(nodes[0], user.id)
    entry = new_entry()
    effects = effects_of((entry,), session_id=session.id)
    await nodes[0].api_keys.create(new_key(user.id), b"first", 10, effects)
    await nodes[1].sessions.end(session.id, None)
    with pytest.raises(Unauthenticated):
        await nodes[0].api_keys.create(new_key(user.id), b"second", 10, effects)
    assert len(await nodes[1].api_keys.list(user.id)) == 1
    assert len(await entries_of(nodes[1])) == 1
