"""The cache of API keys in a process: entries live for half a second; changed and unknown keys are not cached."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import pytest_asyncio

from kingpost.accounts.users.store import UserChange
from kingpost.auth.api_keys import service as api_keys
from kingpost.auth.api_keys.key_format import new_key
from kingpost.auth.api_keys.service import CACHE_LIFETIME, APIKeys, NewAPIKey
from kingpost.auth.api_keys.store import APIKey, APIKeyStore
from kingpost.jobs.sealing import JobSealer
from kingpost.mail import Messages
from kingpost.model import Context, Principal, User
from kingpost.problems import Unauthenticated, Unavailable
from kingpost.secret import MasterSecret
from tests.nodes import Node
from tests.storage.samples import add_admin, add_user

SECRET = MasterSecret("the master secret of the tests, long enough")
LATER = "2026-11-22T10:00:00.000Z"
BOTH = frozenset({"users:read", "resources:write"})


class Watched:
    """The keys of a real database, with every lookup counted. Answers can be delayed."""

    def __init__(self, stored: APIKeyStore) -> None:
        self._stored = stored
        self.asked = 0
        self.answered = asyncio.Event()
        self.let_through = asyncio.Event()
        self.let_through.set()
        self.is_down = False
        self.is_read_only = False

    async def find(self, key_hash: bytes, at: str) -> tuple[APIKey, User] | None:
        self.asked += 1
        if self.is_down:
            raise Unavailable("The database does not answer")
        found = await self._stored.find(key_hash, at)
        self.answered.set()
        await self.let_through.wait()
        return found

    async def note_use(self, key_id: str, at: str) -> None:
        if self.is_read_only:
            raise Unavailable("The database is read-only")
        await self._stored.note_use(key_id, at)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stored, name)


class Trusting:
    """A check of ownership that every caller passes: these tests are about keys that exist."""

    async def faults(self, *_: Any) -> list[Any]:
        return []

    async def prove(self, *_: Any) -> list[Any]:
        return []


TRUSTING: Any = Trusting()


class World:
    """The API keys of one process over a watched database, with a fixed clock, and an account with a key."""

    def __init__(self, storage: Node, user: User) -> None:
        self.storage = storage
        self.user = user
        self.context = Context(Principal(user.id, None, frozenset(user.roles)))
        self.watched = Watched(storage.api_keys)
        self.now = 1000.0
        messages = Messages(JobSealer(SECRET))
        self.keys = APIKeys(self.watched, storage.users, TRUSTING, messages, SECRET, seconds=lambda: self.now)

    async def make(self) -> tuple[APIKey, str]:
        new = NewAPIKey("a machine", ("users:read", "resources:write"))
        return await self.keys.create(self.context, new, "", None)

    async def is_good(self, text: str) -> bool:
        try:
            principal = await self.keys.authenticate(text)
        except Unauthenticated:
            return False
        assert principal.user_id == self.user.id
        return True


@pytest_asyncio.fixture(loop_scope="session")
async def world(storage: Node) -> World:
    await add_admin(storage)
    return World(storage, await add_user(storage, roles=("user", "editor")))


async def test_a_key_authenticates_its_owner_with_its_scopes_and_no_session(world: World) -> None:
    key, text = await world.make()
    principal = await world.keys.authenticate(text)
    assert principal == Principal(world.user.id, None, frozenset({"user", "editor"}), key.id, BOTH)
    assert await world.keys.authenticate(text) is principal


async def test_a_key_is_looked_up_at_most_twice_a_second(world: World) -> None:
    _, text = await world.make()
    for seconds, asked in ((0, 1), (0, 1), (CACHE_LIFETIME - 0.001, 1), (0.001, 2), (0.001, 2), (3600, 3)):
        world.now += seconds
        assert await world.is_good(text)
        assert world.watched.asked == asked


async def test_a_change_on_another_node_takes_effect_within_half_a_second(nodes: list[Node], world: World) -> None:
    key, text = await world.make()
    assert await world.is_good(text)
    await nodes[1].users.change(world.user.id, UserChange(roles=("user",)), LATER, None)
    assert (await world.keys.authenticate(text)).roles == {"user", "editor"}
    world.now += CACHE_LIFETIME
    assert (await world.keys.authenticate(text)).roles == {"user"}
    await nodes[1].api_keys.delete(key.id)
    assert await world.is_good(text)
    world.now += CACHE_LIFETIME
    assert not await world.is_good(text)


async def test_concurrent_calls_share_one_lookup(world: World) -> None:
    texts = [(await world.make())[1] for _ in range(3)]
    assert all(await asyncio.gather(*[world.is_good(text) for text in texts * 50]))
    assert world.watched.asked == len(texts)
    unknown = new_key()
    assert not any(await asyncio.gather(*[world.is_good(unknown) for _ in range(50)]))
    assert world.watched.asked == len(texts) + 1


async def test_an_invalid_key_is_not_looked_up(world: World) -> None:
    _, text = await world.make()
    for wrong in ("kp_", text[:-1], text + "0", text[:-1] + ("0" if text[-1] != "0" else "1"), "kp_" + "0" * 49):
        assert not await world.is_good(wrong)
    assert world.watched.asked == 0


async def test_unknown_and_revoked_keys_are_not_cached(world: World) -> None:
    key, text = await world.make()
    await world.keys.revoke(world.context, key.id)
    for unknown in (new_key(), text):
        before = world.watched.asked
        assert not await world.is_good(unknown)
        assert not await world.is_good(unknown)
        assert world.watched.asked == before + 2


async def test_the_cache_is_bounded_and_evicts_the_oldest_key_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "MAX_CACHED", 2)
    texts = [(await world.make())[1] for _ in range(3)]
    for text in texts:
        assert await world.is_good(text)
    for text, asked in ((texts[2], 3), (texts[1], 3), (texts[0], 4), (texts[1], 5)):
        assert await world.is_good(text)
        assert world.watched.asked == asked


async def revoked(world: World, key: APIKey) -> None:
    await world.keys.revoke(world.context, key.id)


async def suspended(world: World, key: APIKey) -> None:
    await world.storage.users.change(world.user.id, UserChange(status="suspended"), LATER, None)
    world.keys.forget(world.user.id)


async def deleted(world: World, key: APIKey) -> None:
    await world.storage.users.delete(world.user.id, None)
    world.keys.forget(world.user.id)


@pytest.mark.parametrize("end", [revoked, suspended, deleted])
async def test_a_change_in_the_same_process_takes_effect_immediately(
    world: World, end: Callable[[World, APIKey], Any]
) -> None:
    key, text = await world.make()
    assert await world.is_good(text)
    await end(world, key)
    assert not await world.is_good(text)


@pytest.mark.parametrize("end", [revoked, suspended, deleted])
async def test_a_lookup_that_ran_during_a_change_is_not_cached(
    world: World, end: Callable[[World, APIKey], Any]
) -> None:
    key, text = await world.make()
    world.watched.let_through.clear()
    early = asyncio.create_task(world.is_good(text))
    await world.watched.answered.wait()
    await end(world, key)
    # A call after the change starts a new lookup, although the first lookup is still running.
    late = asyncio.create_task(world.is_good(text))
    await asyncio.sleep(0.05)
    world.watched.let_through.set()
    assert await early
    assert not await late
    assert not await world.is_good(text)


async def test_a_key_stays_cached_when_another_account_changes(world: World) -> None:
    _, text = await world.make()
    assert await world.is_good(text)
    world.keys.forget("019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a")
    assert await world.is_good(text)
    assert world.watched.asked == 1


async def test_a_cancelled_call_does_not_cancel_the_lookup_of_others(world: World) -> None:
    _, text = await world.make()
    world.watched.let_through.clear()
    first, second = (asyncio.create_task(world.is_good(text)) for _ in range(2))
    await world.watched.answered.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    world.watched.let_through.set()
    assert await second
    assert world.watched.asked == 1


async def test_no_key_is_accepted_unchecked_while_the_database_is_down(world: World) -> None:
    _, text = await world.make()
    world.watched.is_down = True
    for _ in range(2):
        with pytest.raises(Unavailable):
            await world.keys.authenticate(text)
    world.watched.is_down = False
    assert await world.is_good(text)
    world.watched.is_down = True
    assert await world.is_good(text)
    world.now += CACHE_LIFETIME
    with pytest.raises(Unavailable):
        await world.keys.authenticate(text)


async def test_a_key_is_accepted_even_if_its_use_cannot_be_recorded(world: World) -> None:
    _, text = await world.make()
    world.watched.is_read_only = True
    assert await world.is_good(text)
    world.watched.is_read_only = False
    (unnoted,) = await world.keys.list(world.user.id)
    assert unnoted.last_used_at is None
    world.now += CACHE_LIFETIME
    assert await world.is_good(text)
    (noted,) = await world.keys.list(world.user.id)
    assert noted.last_used_at is not None


async def test_the_database_stores_neither_the_key_nor_an_unkeyed_hash(world: World) -> None:
    _, text = await world.make()
    other_world = World(world.storage, world.user)
    assert await other_world.is_good(text)
    another = MasterSecret("another secret, just as long as the first")
    other = APIKeys(world.storage.api_keys, world.storage.users, TRUSTING, Messages(JobSealer(another)), another)
    with pytest.raises(Unauthenticated):
        await other.authenticate(text)
