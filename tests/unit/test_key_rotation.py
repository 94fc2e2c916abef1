"""The rotation of signing keys on a real database: keys of different ages simulate the passage of time."""

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from kingpost import clock
from kingpost.audit.store import AuditListing
from kingpost.auth.signing_keys.ring import PUBLISHED_BEFORE_USE, KeyRing, SigningKey
from kingpost.auth.signing_keys.rotation import DAY, SLACK, KeyRotation
from kingpost.auth.signing_keys.store import SealedKey
from kingpost.model import OPERATOR, AuditEntry, SortKey
from kingpost.problems import Conflict, NotFound
from kingpost.secret import MasterSecret
from kingpost.storage.effects import NO_EFFECTS, Effects
from tests.nodes import Node, open_node

SECRET = MasterSecret("one secret")
LIFETIME = 600
OVER = PUBLISHED_BEFORE_USE + LIFETIME + SLACK
"""Seconds after which the predecessor of a key is no longer needed."""


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncGenerator[Node]:
    opened = await open_node(f"sqlite:///{tmp_path}/kingpost.db")
    yield opened
    await opened.close()


def rotation_on(storage: Node, days: int = 90) -> tuple[KeyRotation, KeyRing]:
    ring = KeyRing(storage.signing_keys, SECRET)
    return KeyRotation(storage.signing_keys, ring, SECRET, token_lifetime=LIFETIME, rotation_days=days), ring


async def keys_of_ages(storage: Node, *ages: float) -> list[str]:
    """Store keys of the given ages in seconds, oldest first; return their ids."""
    ids: list[str] = []
    for age in ages:
        key = SigningKey(clock.new_id()[0], clock.after(-age), ec.generate_private_key(ec.SECP256R1()))
        if ids:
            assert await storage.signing_keys.add_after(ids[-1], key.seal(SECRET))
        else:
            await storage.signing_keys.add_first(key.seal(SECRET))
        ids.append(key.id)
    return ids


async def states(rotation: KeyRotation) -> list[str]:
    return [life.state for life in await rotation.list()]


async def ids(storage: Node) -> list[str]:
    return [key.id for key in await storage.signing_keys.list()]


async def audit_entries(storage: Node) -> list[tuple[str, str, str | None]]:
    """Return the audit log, oldest first: action, actor and key."""
    page = await storage.audit.list(AuditListing((SortKey("id"),), 100))
    entries: list[AuditEntry] = sorted(page.items, key=lambda entry: entry.id)
    assert {entry.target_type for entry in entries} <= {"signing_key"}
    return [(entry.action, entry.actor_type, entry.target_id) for entry in entries]


async def test_a_single_key_signs_from_the_start_without_an_end(storage: Node) -> None:
    await keys_of_ages(storage, 5)
    rotation, _ = rotation_on(storage)
    (life,) = await rotation.list()
    assert (life.state, life.signs_from, life.verifies_until) == ("signing", life.created_at, None)


async def test_every_key_is_verifying_signing_or_next(storage: Node) -> None:
    await keys_of_ages(storage, 30_000, 20_000, PUBLISHED_BEFORE_USE + 5, PUBLISHED_BEFORE_USE - 5, 1)
    rotation, ring = rotation_on(storage)
    lives = await rotation.list()
    assert [life.state for life in lives] == ["verifying", "verifying", "signing", "next", "next"]
    assert ring.signing_key().id == lives[2].id
    for life, successor in pairwise(lives):
        assert successor.signs_from == clock.shifted(successor.created_at, PUBLISHED_BEFORE_USE)
        assert life.verifies_until == clock.shifted(successor.signs_from, LIFETIME + SLACK)


async def test_an_operator_can_create_the_next_key(storage: Node) -> None:
    (first,) = await keys_of_ages(storage, 5)
    rotation, ring = rotation_on(storage)
    made = await rotation.rotate(OPERATOR)
    assert made.state == "next"
    assert await ids(storage) == [first, made.id]
    assert ring.signing_key().id == first
    assert [key["kid"] for key in ring.jwks()["keys"]] == [first, made.id]
    assert await audit_entries(storage) == [("signing_key.created", "operator", made.id)]


async def test_the_slower_of_two_concurrent_rotations_is_a_conflict(storage: Node) -> None:
    (first,) = await keys_of_ages(storage, 5)
    rotation, ring = rotation_on(storage)

    class Overtaken:
        """A database on which another node always adds its key first."""

        async def add_after(self, newest_id: str, key: SealedKey, effects: Effects = NO_EFFECTS) -> bool:
            assert await storage.signing_keys.add_after(newest_id, SigningKey.generate().seal(SECRET))
            return await storage.signing_keys.add_after(newest_id, key, effects)

        def __getattr__(self, name: str) -> Any:
            return getattr(storage.signing_keys, name)

    stored: Any = Overtaken()
    slower = KeyRotation(stored, ring, SECRET, token_lifetime=LIFETIME, rotation_days=90)
    with pytest.raises(Conflict, match="at the same time"):
        await slower.rotate(OPERATOR)
    assert len(await ids(storage)) == 2
    assert await audit_entries(storage) == []
    assert await states(rotation) == ["signing", "next"]
    assert ring.signing_key().id == first


async def test_no_key_is_created_after_a_key_from_the_future(storage: Node) -> None:
    await keys_of_ages(storage, 20, -DAY)
    rotation, _ = rotation_on(storage)
    with pytest.raises(Conflict, match="in the future: check the clocks of your machines"):
        await rotation.rotate(OPERATOR)
    await rotation.keep_up()
    assert await states(rotation) == ["signing", "next"]


async def test_housekeeping_creates_a_key_only_when_the_newest_is_old(storage: Node) -> None:
    await keys_of_ages(storage, 90 * DAY - 60)
    rotation, _ = rotation_on(storage)
    await rotation.keep_up()
    assert await states(rotation) == ["signing"]
    assert await audit_entries(storage) == []
    rotation, ring = rotation_on(storage, days=89)
    await rotation.keep_up()
    await rotation.keep_up()
    assert await states(rotation) == ["signing", "next"]
    assert len(ring.keys) == 2
    assert await audit_entries(storage) == [("signing_key.created", "system", ring.keys[1].id)]


@pytest.mark.parametrize("days", [0, 10**12])
async def test_housekeeping_can_be_configured_to_create_no_keys(storage: Node, days: int) -> None:
    await keys_of_ages(storage, 10 * 365 * DAY)
    rotation, _ = rotation_on(storage, days)
    await rotation.keep_up()
    assert await states(rotation) == ["signing"]


async def test_exactly_one_of_many_nodes_creates_the_next_key(storage: Node) -> None:
    await keys_of_ages(storage, 100 * DAY)
    nodes = [rotation_on(storage) for _ in range(8)]
    await asyncio.gather(*(rotation.keep_up() for rotation, _ in nodes))
    assert len(await ids(storage)) == 2
    assert len(await audit_entries(storage)) == 1
    for _, ring in nodes:
        assert [key.id for key in ring.keys] == await ids(storage)


async def test_a_key_is_removed_only_when_its_last_token_has_expired(storage: Node) -> None:
    old, kept, signing = await keys_of_ages(storage, 30_000, OVER + 30, OVER - 30)
    nodes = [rotation_on(storage) for _ in range(4)]
    await asyncio.gather(*(rotation.keep_up() for rotation, _ in nodes))
    assert await ids(storage) == [kept, signing]
    assert await audit_entries(storage) == [("signing_key.retired", "system", old)]
    for _, ring in nodes:
        assert not ring.holds(old)
        assert ring.holds(kept)


async def test_the_only_key_is_kept_at_any_age(storage: Node) -> None:
    (only,) = await keys_of_ages(storage, 1000 * DAY)
    rotation, _ = rotation_on(storage, days=0)
    await rotation.keep_up()
    assert await ids(storage) == [only]


async def test_a_retired_key_is_removed_immediately(storage: Node) -> None:
    first, second = await keys_of_ages(storage, 30_000, 20_000)
    rotation, ring = rotation_on(storage)
    await ring.load()
    signing = await rotation.retire(OPERATOR, first)
    assert (signing.id, signing.state) == (second, "signing")
    assert await ids(storage) == [second]
    assert await ring.find(first) is None
    assert await audit_entries(storage) == [("signing_key.retired", "operator", first)]


async def test_the_next_key_signs_immediately_when_the_signing_key_is_retired(storage: Node) -> None:
    signing, following = await keys_of_ages(storage, 20_000, 3)
    rotation, ring = rotation_on(storage)
    assert (await rotation.retire(OPERATOR, signing)).id == following
    assert ring.signing_key().id == following


async def test_the_only_key_cannot_be_retired(storage: Node) -> None:
    (only,) = await keys_of_ages(storage, 20_000)
    rotation, _ = rotation_on(storage)
    with pytest.raises(Conflict, match="This is the only signing key: rotate first"):
        await rotation.retire(OPERATOR, only)
    with pytest.raises(NotFound, match="No signing key has this id"):
        await rotation.retire(OPERATOR, "another")
    assert await ids(storage) == [only]
    assert await audit_entries(storage) == []
