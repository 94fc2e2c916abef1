"""API keys for tests, and the machines that hold them."""

from collections.abc import Sequence
from typing import Any

from kingpost.auth.api_keys.scopes import SCOPES
from tests.api.stack import Caller, Stack

KEYS = "/api/v1/api-keys"
ME = "/api/v1/users/me"


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


async def listed(owner: Caller) -> list[dict[str, Any]]:
    """An account's own list of its keys."""
    response = await owner.http.get(KEYS)
    assert response.status_code == 200
    assert response.headers["cache-control"].startswith("private")
    assert response.json()["next_cursor"] is None
    items: list[dict[str, Any]] = response.json()["items"]
    return items
