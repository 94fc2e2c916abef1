"""API keys for tests, and the machines that hold them."""

from collections.abc import Sequence
from typing import Any

from kingpost.auth.api_keys.scopes import SCOPES
from tests.api.stack import Caller, Stack
from tests.api.trails import NAME, Found, Trail, own

KEYS = "/api/v1/api-keys"
ME = "/api/v1/users/me"
NEW_KEY = {"name": "a machine", "scopes": ["users:read"]}


class Machine:
    """Whoever holds a key. `made` is the answer to its creation, `http` sends it with every request."""

    def __init__(self, stack: Stack, made: dict[str, Any]) -> None:
        self.made = made
        self.id: str = made["id"]
        self.key: str = made["key"]
        self.http = stack.client(self.key)

    async def status(self, path: str = ME) -> int:
        return (await self.http.get(path)).status_code


async def make_key(stack: Stack, owner: Caller, scopes: Sequence[str] = SCOPES, **members: Any) -> Machine:
    """A new key of an account, with all scopes unless told otherwise."""
    response = await owner.http.post(KEYS, json={"name": "a machine", "scopes": list(scopes), **members})
    assert response.status_code == 201, response.text
    return Machine(stack, response.json())


async def of_key(owner: Caller) -> str:
    """The id of a new key of an account."""
    made = await owner.http.post(KEYS, json=NEW_KEY)
    return str(made.json()["id"])


async def listed(owner: Caller) -> list[dict[str, Any]]:
    """An account's own list of its keys."""
    response = await owner.http.get(KEYS)
    assert response.status_code == 200
    assert response.headers["cache-control"].startswith("private")
    assert response.json()["next_cursor"] is None
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def make_a_key(trail: Trail) -> Found:
    user = await trail.member()
    made = await trail.done(user, "POST", "/api-keys", name=NAME, scopes=["users:read"])
    trail.secrets.add(made["key"])
    return own(user, "api_key", made["id"])


async def revoke_a_key(trail: Trail) -> Found:
    user = await trail.member()
    body = {"name": NAME, "scopes": ["users:read"]}
    made = (await user.http.post(KEYS, json=body)).json()
    trail.secrets.add(made["key"])
    await trail.done(user, "DELETE", f"/api-keys/{made['id']}")
    return own(user, "api_key", made["id"])
