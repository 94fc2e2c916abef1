"""The contract of `SigningKeys`, on every database and from two nodes at once."""

from itertools import pairwise

import msgspec

from kingpost import audit
from kingpost.audit.store import AuditListing
from kingpost.auth.signing_keys.store import SealedKey
from kingpost.model import SYSTEM, SortKey
from kingpost.storage.effects import Effects
from tests.nodes import Node
from tests.storage.samples import WRITERS, effects_of, id_and_time, nodes_in_turn, race, tally


def sealed_key(sealed: bytes = bytes(range(256))) -> SealedKey:
    key_id, now = id_and_time()
    return SealedKey(key_id, "ES256", sealed, now)


async def test_a_new_database_has_no_key(storage: Node) -> None:
    assert list(await storage.signing_keys.list()) == []


async def test_a_key_is_found_as_it_was_stored(nodes: list[Node]) -> None:
    key = sealed_key()
    await nodes[0].signing_keys.add_first(key)
    for node in nodes:
        assert list(await node.signing_keys.list()) == [key]


async def test_a_second_initial_key_is_not_stored(nodes: list[Node]) -> None:
    key = sealed_key()
    await nodes[0].signing_keys.add_first(key)
    await nodes[1].signing_keys.add_first(sealed_key(b"another"))
    await nodes[1].signing_keys.add_first(key)
    assert list(await nodes[0].signing_keys.list()) == [key]


async def test_exactly_one_of_many_initial_keys_is_stored(nodes: list[Node]) -> None:
    keys = [sealed_key(b"%d" % number) for number in range(WRITERS)]
    outcomes = await race(
        *[node.signing_keys.add_first(key) for node, key in zip(nodes_in_turn(nodes), keys, strict=True)]
    )
    assert tally(outcomes) == {"won": WRITERS}
    (stored,) = await nodes[0].signing_keys.list()
    assert stored in keys
    assert list(await nodes[1].signing_keys.list()) == [stored]


# --- the next key ----------------------------------------------------------------------------------


async def stored_keys(storage: Node, count: int) -> list[SealedKey]:
    """Store the given number of keys and return them, oldest first."""
    keys = [sealed_key(b"%d" % number) for number in range(count)]
    await storage.signing_keys.add_first(keys[0])
    for newest, key in pairwise(keys):
        assert await storage.signing_keys.add_after(newest.id, key)
    return keys


def effects_about(key_id: str) -> Effects:
    return effects_of((audit.entry(SYSTEM, "signing_key.created", "signing_key", key_id),))


async def entries(storage: Node) -> list[str | None]:
    """Return the keys that the audit log names."""
    page = await storage.audit.list(AuditListing((SortKey("id"),), 100))
    return [entry.target_id for entry in page.items]


async def test_keys_are_listed_by_time_oldest_first(nodes: list[Node]) -> None:
    keys = await stored_keys(nodes[0], 2)
    moved = msgspec.structs.replace(sealed_key(), created_at="2000-01-01T00:00:00.000Z")
    assert await nodes[0].signing_keys.add_after(keys[-1].id, moved)
    assert list(await nodes[1].signing_keys.list()) == [moved, *keys]


async def test_a_key_is_added_only_after_the_newest_key(nodes: list[Node]) -> None:
    first, second = await stored_keys(nodes[0], 2)
    late = sealed_key()
    assert not await nodes[1].signing_keys.add_after(first.id, late, effects_about(late.id))
    assert not await nodes[1].signing_keys.add_after(late.id, late, effects_about(late.id))
    assert list(await nodes[1].signing_keys.list()) == [first, second]
    assert await entries(nodes[0]) == []
    assert await nodes[1].signing_keys.add_after(second.id, late, effects_about(late.id))
    assert list(await nodes[0].signing_keys.list()) == [first, second, late]
    assert await entries(nodes[0]) == [late.id]


async def test_no_key_is_added_after_an_unknown_key(storage: Node) -> None:
    assert not await storage.signing_keys.add_after("nothing", sealed_key())
    assert list(await storage.signing_keys.list()) == []


async def test_exactly_one_of_many_concurrent_rotations_adds_its_key(nodes: list[Node]) -> None:
    (first,) = await stored_keys(nodes[0], 1)
    keys = [sealed_key(b"%d" % number) for number in range(WRITERS)]
    outcomes = await race(
        *[
            node.signing_keys.add_after(first.id, key, effects_about(key.id))
            for node, key in zip(nodes_in_turn(nodes), keys, strict=True)
        ]
    )
    assert sorted(outcomes) == [False] * (WRITERS - 1) + [True]
    winner = keys[outcomes.index(True)]
    assert list(await nodes[1].signing_keys.list()) == [first, winner]
    assert await entries(nodes[0]) == [winner.id]


# --- removing --------------------------------------------------------------------------------------


async def test_a_removed_key_is_removed_on_every_node(nodes: list[Node]) -> None:
    first, second, third = await stored_keys(nodes[0], 3)
    assert await nodes[1].signing_keys.remove(second.id, effects_about(second.id))
    for node in nodes:
        assert list(await node.signing_keys.list()) == [first, third]
    assert not await nodes[0].signing_keys.remove(second.id, effects_about(second.id))
    assert await entries(nodes[0]) == [second.id]


async def test_the_only_key_is_not_removed(storage: Node) -> None:
    (only,) = await stored_keys(storage, 1)
    assert not await storage.signing_keys.remove(only.id, effects_about(only.id))
    assert list(await storage.signing_keys.list()) == [only]
    assert await entries(storage) == []


async def test_a_key_is_removed_only_while_its_successor_exists(storage: Node) -> None:
    first, second, third = await stored_keys(storage, 3)
    assert await storage.signing_keys.remove(second.id)
    assert not await storage.signing_keys.remove(first.id, superseded_by=second.id)
    assert await storage.signing_keys.remove(first.id, superseded_by=third.id)
    assert list(await storage.signing_keys.list()) == [third]


async def test_exactly_one_of_many_concurrent_removals_of_a_key_succeeds(nodes: list[Node]) -> None:
    first, second = await stored_keys(nodes[0], 2)
    outcomes = await race(
        *[node.signing_keys.remove(first.id, effects_about(first.id)) for node in nodes_in_turn(nodes)]
    )
    assert sorted(outcomes) == [False] * (WRITERS - 1) + [True]
    assert list(await nodes[0].signing_keys.list()) == [second]
    assert await entries(nodes[0]) == [first.id]


async def test_one_key_remains_when_all_are_removed_concurrently(nodes: list[Node]) -> None:
    keys = await stored_keys(nodes[0], WRITERS)
    outcomes = await race(
        *[node.signing_keys.remove(key.id) for node, key in zip(nodes_in_turn(nodes), keys, strict=True)]
    )
    assert sorted(outcomes) == [False] + [True] * (WRITERS - 1)
    assert list(await nodes[1].signing_keys.list()) == [keys[outcomes.index(False)]]
