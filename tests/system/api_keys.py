"""API keys for the system tests."""

from tests.system.runs import Run


def use_one(run: Run, password: str) -> None:
    """Create and use a key that stays valid, and revoke another one."""
    for is_kept in (True, False):
        made = run.post("api-keys", 201, name="of the test", scopes=["users:read"], password=password)
        key = run.secrets.add("API key", made["key"], made["key"].removeprefix("kp_").encode())
        assert run.server.client(key).get("/api/v1/users/me").status_code == 200
        if not is_kept:
            assert run.client.delete(f"/api/v1/api-keys/{made['id']}").status_code == 204
