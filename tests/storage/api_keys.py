"""API keys for the storage tests."""

import secrets
from typing import Any

from msgspec.structs import replace

from kingpost.auth.api_keys.store import APIKey
from kingpost.model import User
from tests.nodes import Node
from tests.storage.samples import Write, id_and_time

MOST = 100
A_YEAR_LATER = "2027-11-22T10:00:00.000Z"


def new_key(user_id: str, **fields: Any) -> APIKey:
    key_id, now = id_and_time()
    key = APIKey(
        key_id,
        user_id,
        "nightly 'import' 🦊",
        ("resources:write", "users:read"),
        "kp_5fQx",
        now,
        A_YEAR_LATER,
        None,
    )
    return replace(key, **fields)


async def add_key(storage: Node, user_id: str, key_hash: bytes | None = None, **fields: Any) -> APIKey:
    key = new_key(user_id, **fields)
    await storage.api_keys.create(key, key_hash or secrets.token_bytes(32), MOST)
    return key


async def creation(storage: Node, user: User) -> Write:
    return lambda node, effects: node.api_keys.create(new_key(user.id), b"hash", MOST, effects)


async def creation_over_the_limit(storage: Node, user: User) -> Write:
    await add_key(storage, user.id)
    return lambda node, effects: node.api_keys.create(new_key(user.id), b"hash", 1, effects)


async def deletion(storage: Node, user: User) -> Write:
    key = await add_key(storage, user.id)
    return lambda node, effects: node.api_keys.delete(key.id, effects)
