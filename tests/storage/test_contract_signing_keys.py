"""The contract of `SigningKeys`, on every database and from two nodes at once."""

from kingpost.storage import SealedKey, Storage
from tests.storage.samples import WRITERS, id_and_time, race, takes_turns, tally


def sealed_key(sealed: bytes = bytes(range(256))) -> SealedKey:
    key_id, now = id_and_time()
    return SealedKey(key_id, "ES256", sealed, now)


async def test_a_new_database_has_no_key(storage: Storage) -> None:
    assert list(await storage.signing_keys.list()) == []


async def test_a_key_is_found_as_it_was_stored(nodes: list[Storage]) -> None:
    key = sealed_key()
    await nodes[0].signing_keys.add_first(key)
    for node in nodes:
        assert list(await node.signing_keys.list()) == [key]


async def test_a_second_first_key_is_not_stored(nodes: list[Storage]) -> None:
    key = sealed_key()
    await nodes[0].signing_keys.add_first(key)
    await nodes[1].signing_keys.add_first(sealed_key(b"another"))
    await nodes[1].signing_keys.add_first(key)
    assert list(await nodes[0].signing_keys.list()) == [key]


async def test_of_many_first_keys_exactly_one_is_stored(nodes: list[Storage]) -> None:
    keys = [sealed_key(b"%d" % number) for number in range(WRITERS)]
    outcomes = await race(
        *[node.signing_keys.add_first(key) for node, key in zip(takes_turns(nodes), keys, strict=True)]
    )
    assert tally(outcomes) == {"won": WRITERS}
    (stored,) = await nodes[0].signing_keys.list()
    assert stored in keys
    assert list(await nodes[1].signing_keys.list()) == [stored]
