"""API keys for tests, and the machine clients that use them."""

from collections.abc import Sequence
from typing import Any

from kingpost.auth.api_keys.scopes import SCOPES
from tests.api.audit_scenarios import NAME, AuditScenario, ExpectedEntry, entry_by
from tests.api.stack import PASSWORD, Caller, Stack

KEYS = "/api/v1/api-keys"
ME = "/api/v1/users/me"
NEW_KEY = {"name": "a machine", "scopes": ["users:read"], "password": PASSWORD}


class Machine:
    """A client with an API key. `created` is the response with the new key; `http` sends the key in all requests."""

    def __init__(self, stack: Stack, created: dict[str, Any]) -> None:
        self.created = created
        self.id: str = created["id"]
        self.key: str = created["key"]
        self.http = stack.client(self.key)

    async def status(self, path: str = ME) -> int:
        return (await self.http.get(path)).status_code


def scopes_for(owner: Caller) -> list[str]:
    """All scopes that an account can give to its keys."""
    is_admin = "admin" in owner.grant["user"]["roles"]
    return [scope for scope in SCOPES if is_admin or scope != "users:admin"]


async def make_key(stack: Stack, owner: Caller, scopes: Sequence[str] | None = None, **fields: Any) -> Machine:
    """A new key of an account, by default with all scopes that it can have."""
    given = scopes_for(owner) if scopes is None else list(scopes)
    body = {"name": "a machine", "scopes": given, "password": owner.password, **fields}
    response = await owner.http.post(KEYS, json=body)
    assert response.status_code == 201, response.text
    return Machine(stack, response.json())


async def new_key_id(owner: Caller) -> str:
    """The id of a new key of an account."""
    created = await owner.http.post(KEYS, json=NEW_KEY)
    return str(created.json()["id"])


async def list_keys(owner: Caller) -> list[dict[str, Any]]:
    """An account's own list of its keys."""
    response = await owner.http.get(KEYS)
    assert response.status_code == 200
    assert response.headers["cache-control"].startswith("private")
    assert response.json()["next_cursor"] is None
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def create_key_audited(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    created = await scenario.send_ok(user, "POST", "/api-keys", name=NAME, scopes=["users:read"], password=PASSWORD)
    scenario.secrets.add(created["key"])
    return entry_by(user, "api_key", created["id"])


async def revoke_key_audited(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    body = {"name": NAME, "scopes": ["users:read"], "password": PASSWORD}
    created = (await user.http.post(KEYS, json=body)).json()
    scenario.secrets.add(created["key"])
    await scenario.send_ok(user, "DELETE", f"/api-keys/{created['id']}")
    return entry_by(user, "api_key", created["id"])
