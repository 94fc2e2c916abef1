"""The contract of `RequireProof`: a write that rests on a proof happens only if what was proved still holds."""

import itertools
from collections.abc import Mapping

import pytest

from kingpost.accounts.users.store import UserChange
from kingpost.auth.passwords.store import RequireProof
from kingpost.model import User
from kingpost.problems import Forbidden
from kingpost.storage.effects import Effects
from tests.nodes import Node
from tests.storage import api_keys
from tests.storage.one_time_tokens import AT, add_token
from tests.storage.samples import Given, add_admin, add_user, entries_of, new_entry, nodes_in_turn, race, tally
from tests.storage.test_contract_effects import UNKNOWN_ID, add_factor, plainly, remove_factor, stored

RESTING_ON_PROOF: Mapping[str, Given] = {
    "a new address": plainly(
        lambda s, u, e: s.users.change(u.id, UserChange(email="n@example.com", email_key="n@example.com"), AT, None, e)
    ),
    "a new password": plainly(lambda s, u, e: s.credentials.change_password(u.id, "new hash", AT, UNKNOWN_ID, e)),
    "an API key": api_keys.creation,
    "an enrolment": plainly(lambda s, u, e: s.second_factors.begin(u.id, b"sealed", AT, e)),
    "the end of a second factor": remove_factor,
}


def proof(user: User, second_factor: bytes | None = None) -> RequireProof:
    return RequireProof(user.id, f"hash of {user.email}", second_factor)


def factor_of(name: str) -> bytes | None:
    return b"sealed" if name == "the end of a second factor" else None


@pytest.mark.parametrize("name", RESTING_ON_PROOF)
async def test_a_write_happens_while_its_proof_holds(nodes: list[Node], name: str) -> None:
    user, other = await add_user(nodes[0]), await add_user(nodes[0])
    await add_factor(nodes[0], other)
    write = await RESTING_ON_PROOF[name](nodes[0], user)
    before = await stored(nodes[1])
    entry = new_entry()
    await write(nodes[1], [proof(user, factor_of(name)), entry])
    assert await stored(nodes[1], ("audit",)) != {table: rows for table, rows in before.items() if table != "audit"}
    assert [found.id for found in await entries_of(nodes[0])] == [entry.id]


@pytest.mark.parametrize("name", RESTING_ON_PROOF)
@pytest.mark.parametrize("lost", ["password", "factor"])
async def test_a_write_whose_proof_was_lost_changes_nothing(nodes: list[Node], name: str, lost: str) -> None:
    user = await add_user(nodes[0])
    write = await RESTING_ON_PROOF[name](nodes[0], user)
    right = factor_of(name)
    if lost == "password":
        stale = [RequireProof(user.id, hash, right) for hash in ("", "another hash", f"HASH of {user.email}")]
        stale.append(RequireProof(UNKNOWN_ID, f"hash of {user.email}", right))
    else:
        stale = [proof(user, factor) for factor in (None, b"", b"another", b"sealed") if factor != right]
    before = await stored(nodes[1])
    for each in stale:
        (outcome,) = await race(write(nodes[1], [each, new_entry()]))
        assert type(outcome) is Forbidden, each
        assert await stored(nodes[1]) == before


async def test_an_enrolment_that_was_only_begun_is_no_second_factor_to_prove(storage: Node) -> None:
    user = await add_user(storage)
    await storage.second_factors.begin(user.id, b"only begun", AT)
    await api_keys_with(storage, user, [proof(user)])
    with pytest.raises(Forbidden):
        await api_keys_with(storage, user, [proof(user, b"only begun")])


async def api_keys_with(storage: Node, user: User, effects: Effects) -> None:
    key = api_keys.new_key(user.id)
    await storage.api_keys.create(key, key.id.encode(), api_keys.MOST, effects)


async def test_exactly_one_of_many_new_passwords_rests_on_one_proof(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    writers = nodes_in_turn(nodes)
    outcomes = await race(
        *[
            node.credentials.change_password(user.id, f"hash {n}", AT, UNKNOWN_ID, [proof(user), new_entry()])
            for n, node in enumerate(writers)
        ]
    )
    assert tally(outcomes) == {"won": 1, "Forbidden": len(writers) - 1}
    (winner,) = [n for n, outcome in enumerate(outcomes) if not isinstance(outcome, Forbidden)]
    assert await nodes[0].credentials.find_password_hash(user.id) == f"hash {winner}"
    assert len(await entries_of(nodes[0])) == 1


@pytest.mark.parametrize("name", RESTING_ON_PROOF)
async def test_no_write_on_an_old_proof_follows_a_reset(nodes: list[Node], name: str) -> None:
    await add_admin(nodes[0])
    for number, is_reset_first in itertools.product(range(3), (True, False)):
        user = await add_user(nodes[0])
        write = await RESTING_ON_PROOF[name](nodes[0], user)
        token = await add_token(nodes[0], user, "reset-password")
        wrote, reset = new_entry("wrote"), new_entry("reset")
        resetting = nodes[number % 2].one_time_tokens.reset_password(token.token_hash, "new hash", AT, [reset])
        writing = write(nodes[1 - number % 2], [proof(user, factor_of(name)), wrote])
        outcomes = await race(*((resetting, writing) if is_reset_first else (writing, resetting)))
        outcome, was_reset = outcomes if not is_reset_first else outcomes[::-1]
        found = {entry.id for entry in await entries_of(nodes[0])}
        is_refused = outcome is False or isinstance(outcome, Forbidden)
        assert (wrote.id in found) is not is_refused, outcome
        # A second attempt with the same proof comes after the reset for certain.
        if was_reset is not None:  # A new address or password revokes the link.
            (late,) = await race(write(nodes[0], [proof(user, factor_of(name))]))
            assert late is False or isinstance(late, Exception), late
        await nodes[0].users.delete(user.id, None)
