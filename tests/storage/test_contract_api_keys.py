"""The contract of `APIKeys`, sentence by sentence, on every database and from two nodes at once."""

import secrets
from collections.abc import Awaitable

import pytest
from msgspec.structs import replace

from kingpost import clock
from kingpost.accounts.users.store import UserChange
from kingpost.auth.api_keys.store import APIKey
from kingpost.jobs.store import SealedJob
from kingpost.model import AuditEntry, User
from kingpost.problems import Conflict, Unauthenticated
from kingpost.storage.database import Query
from kingpost.storage.effects import Effects
from tests.nodes import Node
from tests.storage.api_keys import A_YEAR_LATER, MOST, add_key, new_key
from tests.storage.one_time_tokens import add_token
from tests.storage.samples import (
    WRITERS,
    add_admin,
    add_session,
    add_user,
    create_resource,
    effects_of,
    entries_of,
    new_entry,
    new_job,
    new_resource,
    new_session,
    nodes_in_turn,
    race,
    tally,
)
from tests.storage.traces import REMAINS, leave_traces, places_of

UNKNOWN_ID = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"
AT = "2026-11-22T10:00:00.000Z"
LATER = "2026-11-22T10:00:00.001Z"


def new_effects() -> Effects:
    return effects_of((new_entry(),), (new_job(),))


async def assert_only_stored(storage: Node, *effects: Effects) -> None:
    """Check that exactly these effects were stored with the writes."""
    assert [e.id for e in await entries_of(storage)] == [e.id for c in effects for e in c if isinstance(e, AuditEntry)]
    jobs = [claimed.job.id for claimed in await storage.jobs.claim(100, 60)]
    assert jobs == [job.id for c in effects for job in c if isinstance(job, SealedJob)]


# --- the end of all keys of an account --------------------------------------------------------------


async def test_all_keys_of_an_account_end_with_a_write(nodes: list[Node]) -> None:
    user, other = await add_user(nodes[0]), await add_user(nodes[0])
    for owner in (user, user, other):
        await add_key(nodes[0], owner.id)
    await nodes[0].sessions.end_all(user.id, effects=effects_of(keys_of=user.id))
    assert [len(await nodes[1].api_keys.list(owner.id)) for owner in (user, other)] == [0, 1]


async def test_no_key_survives_that_is_created_while_all_sessions_and_keys_of_its_account_end(
    nodes: list[Node],
) -> None:
    user = await add_user(nodes[0])
    session = await add_session(nodes[0], user.id)

    def create(node: Node) -> Awaitable[None]:
        alive = effects_of(session_id=session.id)
        return node.api_keys.create(new_key(user.id), secrets.token_bytes(32), MOST, alive)

    writers = nodes_in_turn(nodes)
    end = nodes[0].sessions.end_all(user.id, effects=effects_of(keys_of=user.id))
    half = len(writers) // 2
    outcomes = await race(*map(create, writers[:half]), end, *map(create, writers[half:]))
    counts = tally(outcomes)
    assert counts.keys() <= {"won", "Unauthenticated"}
    assert outcomes[half] == [session.id]
    assert list(await nodes[1].api_keys.list(user.id)) == []


# --- create, find and list -----------------------------------------------------------------------


async def test_a_key_is_found_by_its_hash_with_its_account_on_every_node(nodes: list[Node]) -> None:
    user = await add_user(nodes[0], name="Ada", metadata={"a": 1}, roles=("user", "editor"))
    key_hash = b"\x00\xff" * 16
    effects = new_effects()
    key = new_key(user.id, expires_at=LATER)
    await nodes[0].api_keys.create(key, key_hash, MOST, effects)
    for node in nodes:
        found = await node.api_keys.find(key_hash, AT)
        assert found is not None
        assert found[0] == key
        assert isinstance(found[1], User)
        assert found[1] == await node.users.find(user.id)
    await assert_only_stored(nodes[1], effects)


async def test_a_key_is_not_found_by_another_hash(storage: Node) -> None:
    await add_key(storage, (await add_user(storage)).id, b"a hash")
    for other in (b"a hasH", b"", b"a hash\x00", b"%"):
        assert await storage.api_keys.find(other, AT) is None


async def test_an_expired_key_is_not_found(storage: Node) -> None:
    user = await add_user(storage)
    await add_key(storage, user.id, b"expires", expires_at=LATER)
    await add_key(storage, user.id, b"later")
    for at, is_found in ((AT, True), (LATER, False), ("2027-01-01T00:00:00.000Z", False)):
        assert (await storage.api_keys.find(b"expires", at) is not None) == is_found
        assert await storage.api_keys.find(b"later", at) is not None


async def test_a_key_that_an_earlier_release_stored_without_an_expiry_lives_for_a_year(storage: Node) -> None:
    user = await add_user(storage)
    created_at = {"created_at": "2025-11-22T10:00:00.001Z"}
    key = await add_key(storage, user.id, b"a hash", **created_at)
    await storage.database.write(Query(f"UPDATE api_keys SET expires_at = NULL WHERE id = '{key.id}'", ()))
    assert await storage.api_keys.list(user.id) == [replace(key, expires_at=LATER)]
    assert await storage.api_keys.find(b"a hash", AT) == (replace(key, expires_at=LATER), user)
    assert await storage.api_keys.find(b"a hash", LATER) is None


async def test_a_key_is_found_with_its_current_account_unless_suspended(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    await add_admin(nodes[0])
    await add_key(nodes[0], user.id, b"a hash")
    await nodes[1].users.change(user.id, UserChange(roles=("user", "admin")), AT, None)
    found = await nodes[0].api_keys.find(b"a hash", AT)
    assert found is not None
    assert found[1].roles == ("user", "admin")
    await nodes[1].users.change(user.id, UserChange(status="suspended"), AT, None)
    assert await nodes[0].api_keys.find(b"a hash", AT) is None
    await nodes[1].users.change(user.id, UserChange(status="active"), AT, None)
    assert await nodes[0].api_keys.find(b"a hash", AT) is not None


async def test_a_list_holds_all_keys_of_an_account_newest_first(nodes: list[Node]) -> None:
    user, other = await add_user(nodes[0]), await add_user(nodes[0])
    keys = [await add_key(nodes[0], user.id, expires_at=expires_at) for expires_at in (A_YEAR_LATER, AT, LATER)]
    await add_key(nodes[0], other.id)
    assert await nodes[1].api_keys.list(user.id) == keys[::-1]
    assert await nodes[1].api_keys.list(UNKNOWN_ID) == []


async def test_the_owner_sees_every_key(storage: Node) -> None:
    user = await add_user(storage)
    key = await add_key(storage, user.id, expires_at=AT)
    assert await storage.api_keys.find_owner(key.id) == user.id
    assert await storage.api_keys.find_owner(UNKNOWN_ID) is None


async def test_a_deleted_or_suspended_account_cannot_create_a_key(storage: Node) -> None:
    await add_admin(storage)
    suspended = await add_user(storage, status="suspended")
    gone = await add_user(storage)
    await storage.users.delete(gone.id, None)
    for user_id in (suspended.id, gone.id, UNKNOWN_ID):
        with pytest.raises(Unauthenticated):
            await storage.api_keys.create(new_key(user_id), b"a hash", MOST, new_effects())
        assert await storage.api_keys.list(user_id) == []
    await assert_only_stored(storage)


async def test_the_number_of_keys_is_limited_including_expired_keys(storage: Node) -> None:
    user, other = await add_user(storage), await add_user(storage)
    first = await add_key(storage, user.id, expires_at=AT)
    await add_key(storage, user.id)
    with pytest.raises(Conflict):
        await storage.api_keys.create(new_key(user.id), b"a hash", 2, new_effects())
    await assert_only_stored(storage)
    await storage.api_keys.create(new_key(other.id), b"another hash", 2)
    assert await storage.api_keys.delete(first.id)
    await storage.api_keys.create(new_key(user.id), b"a hash", 2)
    assert len(await storage.api_keys.list(user.id)) == 2


async def test_concurrent_creations_never_exceed_the_limit(nodes: list[Node]) -> None:
    user, other = await add_user(nodes[0]), await add_user(nodes[0])
    calls = [
        node.api_keys.create(new_key(user.id), b"hash %d" % number, 5, effects_of((new_entry(),)))
        for number, node in enumerate(nodes_in_turn(nodes))
    ]
    others = [add_key(node, other.id) for node in nodes_in_turn(nodes, 4)]
    outcomes = await race(*calls, *others)
    assert tally(outcomes[:WRITERS]) == {"won": 5, "Conflict": WRITERS - 5}
    assert tally(outcomes[WRITERS:]) == {"won": 4}
    assert len(await nodes[0].api_keys.list(user.id)) == 5
    assert len(await entries_of(nodes[0])) == 5


async def test_keys_created_during_the_deletion_of_their_account_are_deleted(nodes: list[Node]) -> None:
    await add_admin(nodes[0])
    for number in range(8):
        user = await add_user(nodes[0])
        hashes = [b"hash %d of %d" % (index, number) for index in range(4)]
        creations = [
            node.api_keys.create(new_key(user.id), key_hash, MOST)
            for node, key_hash in zip(nodes_in_turn(nodes, 4), hashes, strict=True)
        ]
        *created, deleted = await race(*creations, nodes[number % 2].users.delete(user.id, None))
        assert all(outcome is None or isinstance(outcome, Unauthenticated) for outcome in created)
        assert not isinstance(deleted, BaseException)
        assert await nodes[0].api_keys.list(user.id) == []
        assert [await nodes[1].api_keys.find(key_hash, AT) for key_hash in hashes] == [None] * 4


# --- note_use ------------------------------------------------------------------------------------


async def last_use(storage: Node, key: APIKey) -> str | None:
    (found,) = await storage.api_keys.list(key.user_id)
    return found.last_used_at


async def test_the_first_use_is_recorded_and_then_one_use_per_minute(nodes: list[Node]) -> None:
    key = await add_key(nodes[0], (await add_user(nodes[0])).id, b"a hash")
    await nodes[0].api_keys.note_use(key.id, AT)
    assert await last_use(nodes[1], key) == AT
    for seconds, noted in ((0.001, 0), (59.999, 0), (60, 60), (119.999, 60), (86400, 86400)):
        await nodes[1].api_keys.note_use(key.id, clock.shifted(AT, seconds))
        assert await last_use(nodes[0], key) == clock.shifted(AT, noted)
    found = await nodes[0].api_keys.find(b"a hash", AT)
    assert found is not None
    assert found[0] == replace(key, last_used_at=clock.shifted(AT, 86400))


async def test_a_use_with_a_slow_clock_does_not_move_the_last_use_back(storage: Node) -> None:
    key = await add_key(storage, (await add_user(storage)).id)
    await storage.api_keys.note_use(key.id, AT)
    await storage.api_keys.note_use(key.id, clock.shifted(AT, -3600))
    assert await last_use(storage, key) == AT


async def test_one_of_many_concurrent_uses_is_recorded_for_its_key(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    other, key = await add_key(nodes[0], user.id), await add_key(nodes[0], user.id)
    times = [clock.shifted(AT, number) for number in range(WRITERS)]
    uses = [node.api_keys.note_use(key.id, at) for node, at in zip(nodes_in_turn(nodes), times, strict=True)]
    assert tally(await race(*uses, nodes[0].api_keys.note_use(UNKNOWN_ID, AT))) == {"won": WRITERS + 1}
    used, unused = await nodes[1].api_keys.list(user.id)
    assert used.last_used_at in times
    assert unused == other


# --- delete --------------------------------------------------------------------------------------


async def test_a_deleted_key_is_not_found_on_any_node(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    kept, key = await add_key(nodes[0], user.id), await add_key(nodes[0], user.id, b"a hash")
    effects = new_effects()
    assert await nodes[0].api_keys.delete(key.id, effects)
    for node in nodes:
        assert await node.api_keys.find(b"a hash", AT) is None
        assert await node.api_keys.find_owner(key.id) is None
        assert await node.api_keys.list(user.id) == [kept]
    for missing in (key.id, UNKNOWN_ID):
        assert not await nodes[1].api_keys.delete(missing, new_effects())
    await assert_only_stored(nodes[0], effects)


async def test_one_of_many_concurrent_deletions_is_recorded(nodes: list[Node]) -> None:
    key = await add_key(nodes[0], (await add_user(nodes[0])).id)
    calls = [node.api_keys.delete(key.id, effects_of((new_entry(),))) for node in nodes_in_turn(nodes)]
    assert sorted(await race(*calls)) == [False] * (WRITERS - 1) + [True]
    assert len(await entries_of(nodes[0])) == 1


async def test_the_keys_of_an_account_are_deleted_with_it(nodes: list[Node]) -> None:
    await add_admin(nodes[0])
    user, other = await add_user(nodes[0]), await add_user(nodes[0])
    await add_key(nodes[0], user.id, b"a hash")
    await add_key(nodes[0], other.id, b"another hash")
    await nodes[0].users.delete(user.id, None)
    assert await nodes[1].api_keys.find(b"a hash", AT) is None
    assert await nodes[1].api_keys.find(b"another hash", AT) is not None


async def test_everything_created_during_the_deletion_of_an_account_is_deleted(nodes: list[Node]) -> None:
    marker = "Mrs. Lovelace"
    await add_admin(nodes[0])
    for _ in range(4):
        user = await add_user(nodes[0])
        await leave_traces(nodes[0].database, user.id, marker)
        writers = nodes_in_turn(nodes, WRITERS)
        creations = [create_resource(node, new_resource(user.id, {"note": marker})) for node in writers]
        sign_ins = [node.sessions.create(new_session(user.id), b"%d" % n) for n, node in enumerate(writers)]
        keys = [add_key(node, user.id, name=marker) for node in writers]
        before, after = [*creations[:8], *sign_ins[:8], *keys[:8]], [*creations[8:], *sign_ins[8:], *keys[8:]]
        outcomes = await race(*before, nodes[1].users.delete(user.id, None), *after)
        assert tally(outcomes).keys() <= {"won", "Unauthenticated"}
        assert not isinstance(outcomes[len(before)], BaseException)
        assert await places_of(nodes[0].database, user.id) == REMAINS
        assert await places_of(nodes[0].database, marker) <= {"sessions.token_hash", "sessions.parent_hash"}


@pytest.mark.parametrize("was_proved", [False, True])
async def test_the_first_verification_of_an_address_deletes_older_keys(nodes: list[Node], was_proved: bool) -> None:
    storage = nodes[0]
    user = await add_user(storage)
    if was_proved:
        await storage.users.change(user.id, UserChange(email_verified=True), AT, None)
    await add_key(storage, user.id)
    token = await add_token(storage, user, "reset-password")
    assert await storage.one_time_tokens.reset_password(token.token_hash, "new hash", AT) is not None
    assert len(await nodes[1].api_keys.list(user.id)) == int(was_proved)
