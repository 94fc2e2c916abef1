"""The contract of `OneTimeTokens`, sentence by sentence, on every database and from two nodes at once."""

from uuid import UUID

import msgspec
import pytest

from kingpost import clock
from kingpost.accounts.one_time_tokens.store import Allowance, OneTimeToken, Purpose
from kingpost.accounts.users.store import UserChange
from kingpost.jobs.store import Claim, Superseded
from kingpost.model import User
from kingpost.problems import Conflict, NotFound
from kingpost.storage.effects import Effects
from tests.nodes import Node
from tests.storage.one_time_tokens import AT, PURPOSES, SOON, add_token, new_token
from tests.storage.samples import (
    LONG_AGO,
    WRITERS,
    add_resource,
    add_session,
    add_user,
    effects_of,
    entries_of,
    new_entry,
    new_job,
    nodes_in_turn,
    plain,
    race,
    tally,
)

LATE = "2026-11-23T10:15:30.123Z"
UNKNOWN_ID = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"


async def is_alive(storage: Node, token: OneTimeToken) -> bool:
    return await storage.one_time_tokens.find(token.token_hash, AT) is not None


# --- issue and find ------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", PURPOSES)
async def test_a_token_is_found_with_its_account_until_it_expires(nodes: list[Node], purpose: Purpose) -> None:
    user = await add_user(nodes[0])
    token = await add_token(nodes[0], user, purpose)
    for at in (LONG_AGO, AT, "2026-11-22T11:15:30.122Z"):
        found = await nodes[1].one_time_tokens.find(token.token_hash, at)
        assert found is not None
        assert (found[0], plain(found[1])) == (token, plain(user))
    for at in (SOON, LATE):
        assert await nodes[1].one_time_tokens.find(token.token_hash, at) is None
    assert await nodes[1].one_time_tokens.find(b"another", AT) is None


async def test_a_new_token_revokes_only_the_older_token_of_its_purpose(storage: Node) -> None:
    user, other = await add_user(storage), await add_user(storage)
    kept = [await add_token(storage, user, purpose) for purpose in PURPOSES[1:]] + [await add_token(storage, other)]
    older = await add_token(storage, user)
    newer = await add_token(storage, user)
    assert not await is_alive(storage, older)
    assert [await is_alive(storage, token) for token in (newer, *kept)] == [True] * 5


async def test_one_of_many_tokens_issued_concurrently_stays_valid(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    tokens = [new_token(user, "reset-password") for _ in range(WRITERS)]
    outcomes = await race(
        *[node.one_time_tokens.issue(token) for node, token in zip(nodes_in_turn(nodes), tokens, strict=True)]
    )
    assert tally(outcomes) == {"won": WRITERS}
    assert sum([await is_alive(nodes[0], token) for token in tokens]) == 1


async def test_a_token_can_revoke_tokens_of_other_purposes(storage: Node) -> None:
    user = await add_user(storage)
    verify, change = await add_token(storage, user), await add_token(storage, user, "change-email")
    await storage.one_time_tokens.issue(new_token(user, "reset-password"), kills=("verify-email",))
    assert (await is_alive(storage, verify), await is_alive(storage, change)) == (False, True)


async def test_no_token_is_issued_for_an_unknown_account(storage: Node) -> None:
    user = await add_user(storage)
    await storage.users.delete(user.id, None)
    token, effects = new_token(user), effects_of((new_entry(),), (new_job(),))
    with pytest.raises(NotFound):
        await storage.one_time_tokens.issue(token, effects)
    with pytest.raises(NotFound):
        await storage.one_time_tokens.renew(token, effects)
    assert not await is_alive(storage, token)
    assert await entries_of(storage) == []
    assert await storage.jobs.claim(10, 60) == []


async def test_a_token_commits_with_its_effects_or_not_at_all(storage: Node) -> None:
    user, job = await add_user(storage), new_job()
    token, entry = new_token(user), new_entry()
    lost = effects_of((entry,), (job,), finishes=Claim(UNKNOWN_ID, 1))
    with pytest.raises(Superseded):
        await storage.one_time_tokens.issue(token, lost)
    assert not await is_alive(storage, token)
    await storage.one_time_tokens.issue(token, effects_of((entry,), (job,)))
    assert await is_alive(storage, token)
    assert [stored.id for stored in await entries_of(storage)] == [entry.id]
    assert [claimed.job for claimed in await storage.jobs.claim(10, 60)] == [job]


async def test_a_token_commits_as_an_effect_of_another_write(storage: Node) -> None:
    user = await add_user(storage, email="ada@example.com")
    assert await storage.one_time_tokens.confirm_email((await add_token(storage, user)).token_hash, AT) is not None
    older = await add_token(storage, user)
    token = new_token(user, email="countess@example.com")
    change = UserChange(email=token.email, email_key=token.email_key, email_verified=False)
    changed, _ = await storage.users.change(user.id, change, AT, None, effects_of(tokens=(token,)))
    assert (changed.email, changed.email_verified, changed.version) == ("countess@example.com", False, 3)
    assert (await is_alive(storage, older), await is_alive(storage, token)) == (False, True)


# --- allowances ----------------------------------------------------------------------------------


def asked(user: User) -> Effects:
    return effects_of((new_entry("mail.asked", target_id=user.id),), (new_job(),))


async def test_an_allowance_counts_recent_entries_by_account_and_action(storage: Node) -> None:
    user, other = await add_user(storage), await add_user(storage)
    old, mark, recent = (new_entry("mail.asked", target_id=user.id) for _ in range(3))
    others = (new_entry("mail.asked", target_id=other.id), new_entry("user.changed", target_id=user.id))
    await storage.audit.add(old, mark, recent, *others)
    for most, since, goes in (
        (2, mark.created_at, False),
        (3, mark.created_at, True),
        (3, LONG_AGO, False),
        (1, LATE, True),
        (0, LATE, False),
    ):
        token = new_token(user)
        await storage.one_time_tokens.issue(token, allowance=Allowance(("mail.asked",), most, since))
        assert await is_alive(storage, token) is goes, (most, since)
    for most, goes in ((4, False), (5, True)):
        token = new_token(user)
        both = Allowance(("mail.asked", "user.changed"), most, LONG_AGO)
        await storage.one_time_tokens.issue(token, allowance=both)
        assert await is_alive(storage, token) is goes


@pytest.mark.parametrize(("ahead", "goes"), [(-10, False), (30, False), (90, True), (365 * 86400, True)])
async def test_entries_of_a_clock_that_was_ahead_do_not_use_up_an_allowance_until_then(
    storage: Node, ahead: int, goes: bool
) -> None:
    user = await add_user(storage)
    at = clock.after(ahead)
    entry_id = str(UUID(int=UUID(clock.first_id_of(at)).int | 7 << 76 | 2 << 62 | 1))
    entry = new_entry("mail.asked", target_id=user.id)
    await storage.audit.add(msgspec.structs.replace(entry, id=entry_id, created_at=at))
    token = new_token(user)
    allowance = Allowance(("mail.asked",), 1, clock.after(-3600))
    await storage.one_time_tokens.issue(token, allowance=allowance)
    assert await is_alive(storage, token) is goes


async def test_an_exhausted_allowance_only_finishes_the_job_and_revokes_tokens(storage: Node) -> None:
    user, job = await add_user(storage), new_job("password.forgot")
    older = [await add_token(storage, user, purpose) for purpose in PURPOSES]
    await storage.jobs.add(job)
    [claimed] = await storage.jobs.claim(1, 60)
    token = new_token(user, "reset-password")
    effects = effects_of((new_entry(),), (new_job(),), claimed.claim)
    used_up = Allowance(("mail.asked",), 0, LONG_AGO)
    await storage.one_time_tokens.issue(token, effects, kills=("verify-email",), allowance=used_up)
    assert [await is_alive(storage, one) for one in (*older, token)] == [False, True, True, True, False]
    assert await entries_of(storage) == []
    assert await storage.jobs.claim(10, 60) == []
    with pytest.raises(Superseded):
        await storage.one_time_tokens.issue(token, effects, allowance=used_up)


async def test_concurrent_tokens_never_exceed_the_allowance(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    allowance = Allowance(("mail.asked",), 5, LONG_AGO)
    outcomes = await race(
        *[
            node.one_time_tokens.issue(new_token(user), asked(user), allowance=allowance)
            for node in nodes_in_turn(nodes)
        ]
    )
    assert tally(outcomes) == {"won": WRITERS}
    assert len(await entries_of(nodes[0], action="mail.asked")) == 5
    assert len(await nodes[0].jobs.claim(WRITERS, 60)) == 5


# --- renew ---------------------------------------------------------------------------------------


async def test_a_valid_token_is_renewed(storage: Node) -> None:
    user = await add_user(storage)
    older, newer = await add_token(storage, user), new_token(user)
    assert await storage.one_time_tokens.renew(newer, effects_of((new_entry(),)))
    assert (await is_alive(storage, older), await is_alive(storage, newer)) == (False, True)
    assert len(await entries_of(storage)) == 1


async def test_an_invalid_token_is_not_renewed(storage: Node) -> None:
    user = await add_user(storage)
    await add_token(storage, user, "reset-password")
    expired = OneTimeToken(user.id, "verify-email", b"expired", user.email, user.email.lower(), LONG_AGO, AT)
    elsewhere = new_token(user, email="elsewhere@example.com")
    for older in (None, expired, elsewhere):
        if older is not None:
            await storage.one_time_tokens.issue(older)
        newer = new_token(user)
        assert not await storage.one_time_tokens.renew(newer, effects_of((new_entry(),), (new_job(),)))
        assert not await is_alive(storage, newer)
    assert await entries_of(storage) == []
    assert await storage.jobs.claim(10, 60) == []


async def test_a_token_revoked_during_its_renewal_stays_revoked(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    await add_token(nodes[0], user)
    renewed = [new_token(user) for _ in range(WRITERS)]
    reset = new_token(user, "reset-password")
    calls = [node.one_time_tokens.renew(token) for node, token in zip(nodes_in_turn(nodes), renewed, strict=True)]
    await race(*calls[:4], nodes[1].one_time_tokens.issue(reset, kills=("verify-email",)), *calls[4:])
    assert not any([await is_alive(nodes[0], token) for token in renewed])
    assert await is_alive(nodes[0], reset)


async def test_a_token_is_not_renewed_over_the_allowance(storage: Node) -> None:
    user = await add_user(storage)
    older, newer = await add_token(storage, user), new_token(user)
    assert await storage.one_time_tokens.renew(newer, asked(user), allowance=Allowance(("mail.asked",), 0, LONG_AGO))
    assert (await is_alive(storage, older), await is_alive(storage, newer)) == (True, False)


# --- addresses -----------------------------------------------------------------------------------


async def test_verifying_an_address_changes_version_and_time(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    token, reset = await add_token(nodes[0], user), await add_token(nodes[0], user, "reset-password")
    confirmed = await nodes[1].one_time_tokens.confirm_email(token.token_hash, AT, effects_of((new_entry(),)))
    assert confirmed is not None
    verified, ended = confirmed
    assert list(ended) == []
    assert plain(verified) == plain(user) | {"email_verified": True, "version": 2, "updated_at": AT}
    assert plain(await nodes[0].users.find(user.id)) == plain(verified)
    assert (await is_alive(nodes[0], token), await is_alive(nodes[0], reset)) == (False, True)
    assert len(await entries_of(nodes[0])) == 1


async def test_a_changed_address_revokes_all_other_tokens(storage: Node) -> None:
    user = await add_user(storage, email="ada@example.com")
    tokens = [await add_token(storage, user, purpose, email="Countess@example.com") for purpose in PURPOSES]
    confirmed = await storage.one_time_tokens.confirm_email(tokens[1].token_hash, AT)
    assert confirmed is not None
    changed, _ = confirmed
    assert (changed.email, changed.email_verified, changed.version) == ("Countess@example.com", True, 2)
    assert [await is_alive(storage, token) for token in tokens] == [False] * 4
    credentials = await storage.credentials.find_credentials("countess@example.com")
    assert credentials is not None
    assert credentials.user.id == user.id
    assert await storage.credentials.find_credentials("ada@example.com") is None


async def test_confirming_a_taken_address_is_a_conflict_and_keeps_the_token(storage: Node) -> None:
    user, other = await add_user(storage), await add_user(storage)
    token = await add_token(storage, user, "change-email", email=other.email)
    with pytest.raises(Conflict):
        await storage.one_time_tokens.confirm_email(token.token_hash, AT, effects_of((new_entry(),)))
    assert plain(await storage.users.find(user.id)) == plain(user)
    assert await entries_of(storage) == []
    await storage.users.delete(other.id, None)
    assert await storage.one_time_tokens.confirm_email(token.token_hash, AT) is not None


async def test_a_token_is_revoked_with_the_address_that_it_was_sent_to(storage: Node) -> None:
    user = await add_user(storage)
    await storage.users.change(user.id, UserChange(email="b@example.com", email_key="b@example.com"), AT, None)
    # As if it had been issued between the read of the account and the change.
    for purpose in PURPOSES:
        token = await add_token(storage, user, purpose)
        assert await is_alive(storage, token) is (purpose == "change-email")
    assert await storage.one_time_tokens.confirm_email((await add_token(storage, user)).token_hash, AT) is None
    reset = await add_token(storage, user, "reset-password")
    assert await storage.one_time_tokens.reset_password(reset.token_hash, "new hash", AT) is None


@pytest.mark.parametrize("purpose", ["verify-email", "change-email"])
async def test_exactly_one_of_many_concurrent_address_confirmations_succeeds(
    nodes: list[Node], purpose: Purpose
) -> None:
    user = await add_user(nodes[0])
    token = await add_token(nodes[0], user, purpose)
    outcomes = await race(
        *[
            node.one_time_tokens.confirm_email(token.token_hash, AT, effects_of((new_entry(),)))
            for node in nodes_in_turn(nodes)
        ]
    )
    assert sum(isinstance(outcome, tuple) for outcome in outcomes) == 1
    assert outcomes.count(None) == WRITERS - 1
    assert len(await entries_of(nodes[0])) == 1
    found = await nodes[0].users.find(user.id)
    assert found is not None
    assert found.version == 2


async def test_exactly_one_of_many_accounts_confirms_an_address(nodes: list[Node]) -> None:
    users = [await add_user(nodes[0]) for _ in range(WRITERS)]
    tokens = [await add_token(nodes[0], user, "change-email", email="one@example.com") for user in users]
    outcomes = await race(
        *[
            node.one_time_tokens.confirm_email(token.token_hash, AT)
            for node, token in zip(nodes_in_turn(nodes), tokens, strict=True)
        ]
    )
    assert tally(outcomes) == {"won": 1, "Conflict": WRITERS - 1}


# --- passwords -----------------------------------------------------------------------------------


async def test_a_reset_sets_the_hash_verifies_the_address_and_ends_all_sessions(nodes: list[Node]) -> None:
    user, other = await add_user(nodes[0]), await add_user(nodes[0])
    sessions = [await add_session(nodes[0], user.id) for _ in range(3)]
    kept = await add_session(nodes[0], other.id)
    tokens = [await add_token(nodes[0], user, purpose) for purpose in PURPOSES]
    entry, job = new_entry(), new_job()
    outcome = await nodes[1].one_time_tokens.reset_password(
        tokens[2].token_hash, "new hash", AT, effects_of((entry,), (job,))
    )
    assert outcome is not None
    changed, ended = outcome
    assert plain(changed) == plain(user) | {"email_verified": True, "version": 2, "updated_at": AT}
    assert sorted(ended) == sorted(session.id for session in sessions)
    assert await nodes[0].credentials.find_password_hash(user.id) == "new hash"
    assert not any([await nodes[0].is_alive(session.id, clock.now()) for session in sessions])
    assert await nodes[0].is_alive(kept.id, clock.now())
    assert [await is_alive(nodes[0], token) for token in tokens] == [False] * 4
    assert [stored.id for stored in await entries_of(nodes[0])] == [entry.id]
    assert [claimed.job for claimed in await nodes[0].jobs.claim(10, 60)] == [job]


async def test_exactly_one_of_many_concurrent_password_resets_succeeds(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    token = await add_token(nodes[0], user, "reset-password")
    outcomes = await race(
        *[
            node.one_time_tokens.reset_password(token.token_hash, f"hash {number}", AT)
            for number, node in enumerate(nodes_in_turn(nodes))
        ]
    )
    [winner] = [number for number, outcome in enumerate(outcomes) if outcome is not None]
    assert outcomes.count(None) == WRITERS - 1
    assert await nodes[0].credentials.find_password_hash(user.id) == f"hash {winner}"


@pytest.mark.parametrize("purpose", PURPOSES)
async def test_a_token_works_for_its_purpose_only(storage: Node, purpose: Purpose) -> None:
    user = await add_user(storage)
    token = await add_token(storage, user, purpose)
    if purpose == "reset-password":
        assert await storage.one_time_tokens.confirm_email(token.token_hash, AT) is None
    else:
        assert await storage.one_time_tokens.reset_password(token.token_hash, "new hash", AT) is None
    assert await is_alive(storage, token)
    assert plain(await storage.users.find(user.id)) == plain(user)
    assert await storage.credentials.find_password_hash(user.id) == f"hash of {user.email}"


async def test_an_expired_token_has_no_effect(storage: Node) -> None:
    user = await add_user(storage)
    verify, reset = await add_token(storage, user), await add_token(storage, user, "reset-password")
    assert await storage.one_time_tokens.confirm_email(verify.token_hash, SOON) is None
    assert await storage.one_time_tokens.reset_password(reset.token_hash, "new hash", SOON) is None
    assert plain(await storage.users.find(user.id)) == plain(user)


async def test_a_new_password_revokes_tokens_that_could_take_over_the_account(storage: Node) -> None:
    user = await add_user(storage)
    session = await add_session(storage, user.id)
    tokens = [await add_token(storage, user, purpose) for purpose in PURPOSES]
    await storage.credentials.change_password(user.id, "new hash", AT, session.id)
    assert [await is_alive(storage, token) for token in tokens] == [True, False, False, False]


# --- concurrent writers --------------------------------------------------------------------------


async def test_tokens_and_account_changes_do_not_deadlock(
    nodes: list[Node],
) -> None:
    user = await add_user(nodes[0])
    for number in range(6):
        verify, reset = await add_token(nodes[0], user), await add_token(nodes[0], user, "reset-password")
        email = f"{number}@example.com"
        outcomes = await race(
            nodes[0].users.change(user.id, UserChange(name="Ada"), AT, None),
            nodes[1].one_time_tokens.confirm_email(verify.token_hash, AT),
            nodes[0].one_time_tokens.reset_password(reset.token_hash, "new hash", AT),
            nodes[1].one_time_tokens.issue(new_token(user)),
            add_resource(nodes[0], user.id),
            nodes[1].users.change(user.id, UserChange(email=email, email_key=email), AT, None),
            nodes[0].one_time_tokens.renew(new_token(user)),
            nodes[1].credentials.change_password(user.id, "another hash", AT, UNKNOWN_ID),
        )
        assert tally(outcomes) == {"won": 8}, outcomes
        found = await nodes[0].users.find(user.id)
        assert found is not None
        user = found


async def test_the_tokens_of_an_account_are_deleted_with_it(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    tokens = [await add_token(nodes[0], user, purpose) for purpose in PURPOSES]
    await nodes[1].users.delete(user.id, None)
    assert [await is_alive(nodes[0], token) for token in tokens] == [False] * 4


async def test_only_expired_tokens_are_deleted(storage: Node) -> None:
    users = [await add_user(storage) for _ in range(2)]
    token = await add_token(storage, users[0])
    later = OneTimeToken(users[1].id, "verify-email", b"later", users[1].email, users[1].email.lower(), AT, LATE)
    await storage.one_time_tokens.issue(later)
    await storage.one_time_tokens.forget_expired(SOON)
    assert await is_alive(storage, token)
    await storage.one_time_tokens.forget_expired(LATE)
    assert (await is_alive(storage, token), await is_alive(storage, later)) == (False, True)
