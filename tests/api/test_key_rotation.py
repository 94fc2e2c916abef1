"""Rotation of signing keys: a running server notices keys that other processes add and remove."""

import asyncio
from pathlib import Path

from kingpost.auth.revocations.service import TRUSTED_FOR
from kingpost.auth.signing_keys.ring import KeyRing, SigningKey
from kingpost.secret import MasterSecret
from tests.api.stack import SECRET, Caller, Serve, Stack, assert_problem
from tests.nodes import open_node
from tests.timing import assert_within

REMOVAL_LIMIT = 1.0
"""Seconds within which a server must notice that a key has been removed."""
TIMEOUT = 10.0
"""Seconds to wait for the published keys. This is not a guaranteed limit."""


async def key_ids(stack: Stack) -> list[str]:
    keys = (await stack.client().get("/.well-known/jwks.json")).json()["keys"]
    return [key["kid"] for key in keys]


async def publishes(stack: Stack, *ids: str) -> bool:
    return await key_ids(stack) == list(ids)


async def is_refused(caller: Caller) -> bool:
    return await status(caller) == 401


async def status(caller: Caller) -> int:
    return (await caller.http.get("/api/v1/users/me")).status_code


async def test_a_key_added_elsewhere_is_published_and_a_key_removed_elsewhere_is_refused(
    serve: Serve, tmp_path: Path
) -> None:
    stack = await serve()
    caller = await stack.sign_up()
    (first,) = await key_ids(stack)
    assert await status(caller) == 200
    storage = await open_node(f"sqlite:///{tmp_path}/kingpost.db")
    try:
        following = SigningKey.generate()
        assert await storage.signing_keys.add_after(first, following.seal(MasterSecret(SECRET)))
        await assert_within(TIMEOUT, lambda: publishes(stack, first, following.id))
        assert await status(caller) == 200
        assert await storage.signing_keys.remove(first)
        await assert_within(REMOVAL_LIMIT, lambda: is_refused(caller))
    finally:
        await storage.close()
    assert_problem(await caller.http.get("/api/v1/users/me"), 401, "unauthenticated")
    await assert_within(TIMEOUT, lambda: publishes(stack, following.id))
    body = {"refresh_token": caller.refresh_token}
    grant = (await stack.client().post("/api/v1/auth/refresh", json=body)).json()
    assert (await stack.client(grant["access_token"]).get("/api/v1/users/me")).status_code == 200


async def test_a_server_with_stale_revocations_looks_up_the_key_of_each_token(serve: Serve, tmp_path: Path) -> None:
    stack = await serve()
    caller = await stack.sign_up()
    await stack.kingpost.auth.revocations.stop()
    await asyncio.sleep(TRUSTED_FOR)
    assert await status(caller) == 200
    storage = await open_node(f"sqlite:///{tmp_path}/kingpost.db")
    try:
        ring = KeyRing(storage.signing_keys, MasterSecret(SECRET))
        await ring.load()
        first = ring.signing_key().id
        assert await storage.signing_keys.add_after(first, SigningKey.generate().seal(MasterSecret(SECRET)))
        assert await storage.signing_keys.remove(first)
    finally:
        await storage.close()
    response = await caller.http.get("/api/v1/users/me")
    assert_problem(response, 401, "unauthenticated")


async def test_housekeeping_rotates_keys_automatically(serve: Serve) -> None:
    stack = await serve(KEY_ROTATION_DAYS="30")
    (first,) = await key_ids(stack)
    await stack.execute("UPDATE signing_keys SET created_at = '2026-01-01T00:00:00.000Z'")
    await stack.kingpost.auth.key_rotation.keep_up()
    assert (await key_ids(stack))[0] == first
    assert len(await key_ids(stack)) == 2
    assert stack.kingpost.auth.keys.signing_key().id == first
