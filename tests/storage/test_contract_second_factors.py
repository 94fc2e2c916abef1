"""The contract of `SecondFactors`, sentence by sentence, on every database and from two nodes at once."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from kingpost.auth.second_factor.store import SecondFactor
from kingpost.jobs.store import SealedJob
from kingpost.model import AuditEntry
from kingpost.problems import Conflict, Unauthenticated
from kingpost.storage.effects import Effects
from tests.nodes import Node, open_node
from tests.storage.samples import (
    WRITERS,
    add_admin,
    add_user,
    effects_of,
    entries_of,
    new_entry,
    new_job,
    new_session,
    nodes_in_turn,
    race,
    tally,
)

UNKNOWN_ID = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"
BEGUN = "2026-11-22T10:00:00.000Z"
CONFIRMED = "2026-11-22T10:01:00.000Z"
SEALED = b"\x00a sealed secret\xff"
CODES = [b"\x00code %d" % number for number in range(10)]
STEP = 59_000_000
"""A current time step."""


async def add_factor(storage: Node, codes: Sequence[bytes] = CODES, step: int = STEP) -> str:
    """The id of a new account with a confirmed second factor."""
    user = await add_user(storage)
    await storage.second_factors.begin(user.id, SEALED, BEGUN)
    await storage.second_factors.confirm(user.id, SEALED, step, codes, CONFIRMED)
    return user.id


def new_effects() -> Effects:
    return effects_of((new_entry(),), (new_job(),))


async def assert_only_stored(storage: Node, *effects: Effects) -> None:
    """Check that exactly these effects were stored with the writes."""
    assert [e.id for e in await entries_of(storage)] == [e.id for c in effects for e in c if isinstance(e, AuditEntry)]
    jobs = [claimed.job.id for claimed in await storage.jobs.claim(100, 60)]
    assert jobs == [job.id for c in effects for job in c if isinstance(job, SealedJob)]


# --- begin and find ------------------------------------------------------------------------------


async def test_a_new_account_has_no_second_factor(storage: Node) -> None:
    user = await add_user(storage)
    for user_id in (user.id, UNKNOWN_ID):
        assert await storage.second_factors.find(user_id) is None
        assert not await storage.second_factors.use_step(user_id, SEALED, STEP)
        assert await storage.second_factors.use_recovery_code(user_id, CODES[0]) is None
        assert not await storage.second_factors.remove(user_id)


async def test_a_started_enrolment_is_found_on_every_node(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    await nodes[0].second_factors.begin(user.id, SEALED, BEGUN)
    for node in nodes:
        assert await node.second_factors.find(user.id) == SecondFactor(user.id, SEALED, BEGUN, None, None, 0)


async def test_a_new_enrolment_replaces_an_older_one(storage: Node) -> None:
    user = await add_user(storage)
    await storage.second_factors.begin(user.id, SEALED, BEGUN)
    await storage.second_factors.begin(user.id, b"another", CONFIRMED)
    assert await storage.second_factors.find(user.id) == SecondFactor(user.id, b"another", CONFIRMED, None, None, 0)
    with pytest.raises(Conflict):
        await storage.second_factors.confirm(user.id, SEALED, STEP, CODES, CONFIRMED)


async def test_a_confirmed_second_factor_is_not_replaced(storage: Node) -> None:
    user_id = await add_factor(storage)
    with pytest.raises(Conflict):
        await storage.second_factors.begin(user_id, b"another", CONFIRMED)
    assert await storage.second_factors.find(user_id) == SecondFactor(user_id, SEALED, BEGUN, CONFIRMED, STEP, 10)


async def test_an_enrolment_for_a_deleted_account_fails(storage: Node) -> None:
    user = await add_user(storage)
    await add_admin(storage)
    await storage.users.delete(user.id, None)
    for user_id in (user.id, UNKNOWN_ID):
        with pytest.raises(Unauthenticated):
            await storage.second_factors.begin(user_id, SEALED, BEGUN)


async def test_one_of_many_concurrent_enrolments_is_kept(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    secrets = [b"secret %d" % number for number in range(WRITERS)]
    outcomes = await race(
        *[
            node.second_factors.begin(user.id, secret, BEGUN)
            for node, secret in zip(nodes_in_turn(nodes), secrets, strict=True)
        ]
    )
    assert tally(outcomes) == {"won": WRITERS}
    found = await nodes[0].second_factors.find(user.id)
    assert found is not None
    assert found.sealed in secrets


async def test_an_enrolment_during_a_deletion_leaves_no_data(nodes: list[Node]) -> None:
    await add_admin(nodes[0])
    for _ in range(8):
        user = await add_user(nodes[0])
        begun, deleted = await race(
            nodes[0].second_factors.begin(user.id, SEALED, BEGUN), nodes[1].users.delete(user.id, None)
        )
        assert begun is None or isinstance(begun, Unauthenticated)
        assert not isinstance(deleted, BaseException)
        assert await nodes[0].second_factors.find(user.id) is None


# --- confirm -------------------------------------------------------------------------------------


async def test_a_confirmation_stores_recovery_codes_and_uses_its_step(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    await nodes[0].second_factors.begin(user.id, SEALED, BEGUN)
    effects = new_effects()
    await nodes[0].second_factors.confirm(user.id, SEALED, STEP, CODES, CONFIRMED, effects)
    expected = SecondFactor(user.id, SEALED, BEGUN, CONFIRMED, STEP, 10)
    assert await nodes[1].second_factors.find(user.id) == expected
    assert not await nodes[1].second_factors.use_step(user.id, SEALED, STEP)
    await assert_only_stored(nodes[1], effects)


async def test_only_the_same_enrolment_is_confirmed_and_only_once(storage: Node) -> None:
    user = await add_user(storage)
    with pytest.raises(Conflict):
        await storage.second_factors.confirm(user.id, SEALED, STEP, CODES, CONFIRMED, new_effects())
    await storage.second_factors.begin(user.id, SEALED, BEGUN)
    with pytest.raises(Conflict):
        await storage.second_factors.confirm(user.id, b"another", STEP, CODES, CONFIRMED, new_effects())
    await storage.second_factors.confirm(user.id, SEALED, STEP, CODES, CONFIRMED)
    with pytest.raises(Conflict):
        await storage.second_factors.confirm(user.id, SEALED, STEP + 1, [b"more"], CONFIRMED, new_effects())
    assert await storage.second_factors.find(user.id) == SecondFactor(user.id, SEALED, BEGUN, CONFIRMED, STEP, 10)
    await assert_only_stored(storage)


async def test_exactly_one_of_many_confirmations_succeeds(nodes: list[Node]) -> None:
    for _ in range(3):
        user = await add_user(nodes[0])
        await nodes[0].second_factors.begin(user.id, SEALED, BEGUN)
        outcomes = await race(
            *[
                node.second_factors.confirm(
                    user.id, SEALED, STEP, [b"%d of %d" % (code, number) for code in range(10)], CONFIRMED
                )
                for number, node in enumerate(nodes_in_turn(nodes))
            ]
        )
        assert tally(outcomes) == {"won": 1, "Conflict": WRITERS - 1}
        found = await nodes[0].second_factors.find(user.id)
        assert found is not None
        assert found.recovery_codes_left == 10


async def test_a_confirmation_never_confirms_the_secret_of_a_concurrent_enrolment(nodes: list[Node]) -> None:
    for _ in range(8):
        user = await add_user(nodes[0])
        await nodes[0].second_factors.begin(user.id, SEALED, BEGUN)
        confirmed, begun = await race(
            nodes[0].second_factors.confirm(user.id, SEALED, STEP, CODES, CONFIRMED),
            nodes[1].second_factors.begin(user.id, b"another", BEGUN),
        )
        found = await nodes[0].second_factors.find(user.id)
        assert found is not None
        if confirmed is None:
            assert isinstance(begun, Conflict)
            assert (found.sealed, found.confirmed_at) == (SEALED, CONFIRMED)
        else:
            assert isinstance(confirmed, Conflict)
            assert begun is None
            assert (found.sealed, found.confirmed_at) == (b"another", None)


# --- use_step ------------------------------------------------------------------------------------


async def test_a_step_is_used_once_and_no_older_step_after_it(nodes: list[Node]) -> None:
    user_id = await add_factor(nodes[0])
    uses = [(STEP, False), (STEP - 1, False), (STEP + 2, True), (STEP + 2, False), (STEP + 1, False), (STEP + 3, True)]
    for number, (step, expected) in enumerate(uses):
        assert await nodes[number % 2].second_factors.use_step(user_id, SEALED, step) is expected, (number, step)
    found = await nodes[0].second_factors.find(user_id)
    assert found is not None
    assert found.last_step == STEP + 3


@pytest.mark.parametrize(("ahead", "is_free"), [(1, False), (4, False), (20, False), (21, True), (1_000_000, True)])
async def test_a_step_of_a_clock_that_was_ahead_does_not_use_up_the_codes_until_then(
    nodes: list[Node], ahead: int, is_free: bool
) -> None:
    user_id = await add_factor(nodes[0])
    assert await nodes[0].second_factors.use_step(user_id, SEALED, STEP + ahead)
    # Now the clock has been set back.
    assert await nodes[1].second_factors.use_step(user_id, SEALED, STEP) is is_free
    assert not await nodes[0].second_factors.use_step(user_id, SEALED, STEP)
    assert await nodes[0].second_factors.use_step(user_id, SEALED, STEP + 1) is is_free


async def test_a_step_of_an_unconfirmed_or_another_secret_is_not_used(storage: Node) -> None:
    user, user_id = await add_user(storage), await add_factor(storage)
    await storage.second_factors.begin(user.id, SEALED, BEGUN)
    assert not await storage.second_factors.use_step(user.id, SEALED, STEP + 1)
    assert not await storage.second_factors.use_step(user_id, b"another", STEP + 1)
    assert await storage.second_factors.use_step(user_id, SEALED, STEP + 1)


async def test_exactly_one_of_many_uses_of_a_step_succeeds(nodes: list[Node]) -> None:
    for _ in range(3):
        user_id = await add_factor(nodes[0])
        outcomes = await race(*[n.second_factors.use_step(user_id, SEALED, STEP + 1) for n in nodes_in_turn(nodes)])
        assert sorted(outcomes) == [False] * (WRITERS - 1) + [True]


# --- use_recovery_code ---------------------------------------------------------------------------


async def test_a_recovery_code_works_once_and_the_remaining_codes_are_counted(nodes: list[Node]) -> None:
    user_id, other_id = await add_factor(nodes[0]), await add_factor(nodes[0], CODES[:2])
    effects = [new_effects() for _ in CODES]
    for number, code in enumerate(CODES):
        use = nodes[number % 2].second_factors.use_recovery_code
        assert await use(user_id, code, effects[number]) == 9 - number
        assert await use(user_id, code, new_effects()) is None
    assert await nodes[0].second_factors.use_recovery_code(other_id, CODES[0]) == 1
    await assert_only_stored(nodes[1], *effects)


async def test_an_unknown_recovery_code_or_one_of_another_account_is_not_used(storage: Node) -> None:
    user_id, other_id = await add_factor(storage), await add_factor(storage, [b"other"])
    for code in (b"other", b"", b"\x00code", b"\x00code 1\x00"):
        assert await storage.second_factors.use_recovery_code(user_id, code, new_effects()) is None
    for account in (user_id, other_id):
        found = await storage.second_factors.find(account)
        assert found is not None
        assert found.recovery_codes_left == (10 if account == user_id else 1)
    await assert_only_stored(storage)


async def test_exactly_one_of_many_uses_of_a_recovery_code_succeeds(nodes: list[Node]) -> None:
    user_id = await add_factor(nodes[0])
    outcomes = await race(*[n.second_factors.use_recovery_code(user_id, CODES[0]) for n in nodes_in_turn(nodes)])
    assert sorted(outcomes, key=str) == [9] + [None] * (WRITERS - 1)


async def test_concurrent_uses_of_recovery_codes_are_all_counted(nodes: list[Node]) -> None:
    user_id = await add_factor(nodes[0])
    uses = [
        n.second_factors.use_recovery_code(user_id, c) for n, c in zip(nodes_in_turn(nodes, 10), CODES, strict=True)
    ]
    assert sorted(await asyncio.gather(*uses), key=str) == list(range(10))


# --- remove --------------------------------------------------------------------------------------


async def test_a_removal_deletes_the_recovery_codes_and_allows_a_new_enrolment(nodes: list[Node]) -> None:
    user_id, other_id = await add_factor(nodes[0]), await add_factor(nodes[0])
    effects = new_effects()
    assert await nodes[0].second_factors.remove(user_id, effects)
    assert not await nodes[1].second_factors.remove(user_id, new_effects())
    assert await nodes[1].second_factors.find(user_id) is None
    assert await nodes[1].second_factors.use_recovery_code(user_id, CODES[0]) is None
    await nodes[1].second_factors.begin(user_id, b"another", BEGUN)
    await nodes[1].second_factors.confirm(user_id, b"another", STEP - 5, CODES[:3], CONFIRMED)
    expected = SecondFactor(user_id, b"another", BEGUN, CONFIRMED, STEP - 5, 3)
    assert await nodes[0].second_factors.find(user_id) == expected
    other = await nodes[0].second_factors.find(other_id)
    assert other is not None
    assert other.recovery_codes_left == 10
    await assert_only_stored(nodes[0], effects)


async def test_an_unconfirmed_second_factor_cannot_be_removed(storage: Node) -> None:
    user = await add_user(storage)
    await storage.second_factors.begin(user.id, SEALED, BEGUN)
    assert not await storage.second_factors.remove(user.id, new_effects())
    assert await storage.second_factors.find(user.id) is not None
    await assert_only_stored(storage)


async def test_exactly_one_of_many_concurrent_removals_succeeds(nodes: list[Node]) -> None:
    user_id = await add_factor(nodes[0])
    outcomes = await race(*[node.second_factors.remove(user_id) for node in nodes_in_turn(nodes)])
    assert sorted(outcomes) == [False] * (WRITERS - 1) + [True]


# --- concurrent sessions -------------------------------------------------------------------------


async def test_a_session_starts_only_with_the_second_factor_that_the_login_verified(storage: Node) -> None:
    user_id = await add_factor(storage)
    present = await storage.credentials.find_password_hash(user_id)
    for proved in (None, b"another"):
        with pytest.raises(Unauthenticated):
            await storage.sessions.create(new_session(user_id), b"1", present, second_factor=proved)
    await storage.sessions.create(new_session(user_id), b"1", present, second_factor=SEALED)
    await storage.second_factors.remove(user_id)
    with pytest.raises(Unauthenticated):
        await storage.sessions.create(new_session(user_id), b"2", present, second_factor=SEALED)
    await storage.second_factors.begin(user_id, b"only begun", BEGUN)
    await storage.sessions.create(new_session(user_id), b"2", present)


async def test_a_login_without_second_factor_fails_after_a_confirmation(nodes: list[Node]) -> None:
    for _ in range(8):
        user = await add_user(nodes[0])
        present = await nodes[0].credentials.find_password_hash(user.id)
        await nodes[0].second_factors.begin(user.id, SEALED, BEGUN)
        confirmed, *started = await race(
            nodes[0].second_factors.confirm(user.id, SEALED, STEP, CODES, CONFIRMED),
            *[node.sessions.create(new_session(user.id), b"1", present) for node in nodes_in_turn(nodes)],
        )
        assert confirmed is None
        assert tally(started).keys() <= {"won", "Unauthenticated"}
        with pytest.raises(Unauthenticated):
            await nodes[1].sessions.create(new_session(user.id), b"1", present)


@pytest.mark.postgresql
async def test_a_confirmation_waits_for_sessions_that_are_about_to_start(migrated_postgresql_url: str) -> None:
    storage = await open_node(migrated_postgresql_url)
    login = await asyncpg.connect(migrated_postgresql_url)
    try:
        user = await add_user(storage)
        await storage.second_factors.begin(user.id, SEALED, BEGUN)
        async with login.transaction():
            # The first step of starting a session. The next step finds that there is no second factor.
            await login.execute(f"SELECT 1 FROM users WHERE id = '{user.id}' FOR SHARE")
            confirming = asyncio.create_task(storage.second_factors.confirm(user.id, SEALED, STEP, CODES, CONFIRMED))
            _, waiting = await asyncio.wait([confirming], timeout=0.3)
            assert waiting
        await confirming
    finally:
        await login.close()
        await storage.close()
