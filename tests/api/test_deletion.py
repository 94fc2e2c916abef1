"""`DELETE /users/{id}`: takes effect at once and on every node, and leaves no personal data."""

import asyncio
import secrets
import time

from kingpost.accounts.registration.service import NewAccount
from kingpost.auth.second_factor.totp import STEP, code_at
from kingpost.model import OPERATOR
from tests.api.stack import PASSWORD, Caller, Serve, Stack, assert_problem
from tests.storage.traces import REMAINS, places_of

ADDRESS = "203.0.113.77"
NAME, NOTE = "Augusta Ada Byron", "a note of her own"
AGENT = "Analytical Engine/1837"
PROPAGATION_TIME = 1.0
"""Seconds after which, by the contract, every node knows of a deletion."""


async def delete(caller: Caller, user_id: str | None = None) -> None:
    response = await caller.http.delete(f"/api/v1/users/{user_id or caller.id}")
    assert response.status_code == 204, response.text


async def use_all_features(stack: Stack, email: str) -> Caller:
    """A user who has used all features, from a unique IP address and with a unique device."""
    client = stack.client(address=ADDRESS, **{"User-Agent": AGENT})
    body = {"email": email, "password": PASSWORD, "name": NAME, "metadata": {"note": NOTE}}
    assert (await client.post("/api/v1/users", json=body)).status_code == 201
    login = await client.post("/api/v1/auth/login", json={"email": email, "password": PASSWORD})
    grant = login.json()
    http = stack.client(grant["access_token"], address=ADDRESS, **{"User-Agent": AGENT})
    user = Caller(grant["user"]["id"], email, PASSWORD, grant, http)
    enrolment = (await http.post("/api/v1/auth/totp", json={"password": PASSWORD})).json()
    otp = code_at(enrolment["secret"], int(time.time()) // STEP)
    assert (await http.post("/api/v1/auth/totp/confirm", json={"otp": otp})).is_success
    await http.post("/api/v1/resources", json={"type": "note", "data": {"text": "a note about the engine"}})
    await http.patch(f"/api/v1/users/{user.id}", json={"name": "Ada King"})
    await client.post("/api/v1/auth/login", json={"email": email, "password": "a wrong password"})
    await client.post("/api/v1/auth/password/forgot", json={"email": email})
    await http.get(f"/api/v1/users/{user.id}/export")
    return user


async def test_no_personal_data_is_left_in_the_database(stack: Stack) -> None:
    email = f"Ada.{secrets.token_hex(8)}@Example.com"
    user = await use_all_features(stack, email)
    personal = [email, email.partition("@")[0], NAME, "Ada King", NOTE, ADDRESS, AGENT]
    personal.append("a note about the engine")
    for text in (email, "Ada King", ADDRESS, AGENT, "a note about the engine"):
        assert await places_of(stack.kingpost.database, text), text
    await delete(user)
    for text in personal:
        assert await places_of(stack.kingpost.database, text) == set(), text
    assert await places_of(stack.kingpost.database, user.id) == REMAINS


async def test_sessions_end_at_once_here_and_within_a_second_on_other_nodes(stack: Stack, second_node: Stack) -> None:
    user = await stack.sign_up()
    for node in (stack, second_node):
        assert (await node.client(user.access_token).get("/api/v1/users/me")).status_code == 200
    await delete(user)
    assert_problem(await stack.client(user.access_token).get("/api/v1/users/me"), 401, "unauthenticated")
    await asyncio.sleep(PROPAGATION_TIME)
    assert_problem(await second_node.client(user.access_token).get("/api/v1/users/me"), 401, "unauthenticated")
    for node in (stack, second_node):
        response = await node.client().post("/api/v1/auth/refresh", json={"refresh_token": user.refresh_token})
        assert_problem(response, 401, "unauthenticated")
        login = {"email": user.email, "password": PASSWORD}
        assert_problem(await node.client().post("/api/v1/auth/login", json=login), 401, "invalid-credentials")


async def test_a_new_account_with_the_same_address_is_unrelated_to_the_deleted_one(stack: Stack, admin: Caller) -> None:
    user = await stack.sign_up()
    await user.http.post("/api/v1/resources", json={"type": "note", "data": {}})
    await delete(user)
    again = await stack.sign_up(user.email)
    assert again.id != user.id
    assert (await again.http.get("/api/v1/resources")).json()["items"] == []
    export = (await again.http.get(f"/api/v1/users/{again.id}/export")).json()
    assert user.id not in str(export)


async def test_resources_are_deleted_with_their_account(stack: Stack, admin: Caller) -> None:
    user = await stack.sign_up()
    resource_ids = [
        (await user.http.post("/api/v1/resources", json={"type": "note", "data": {"n": n}})).json()["id"]
        for n in range(3)
    ]
    await delete(admin, user.id)
    for resource_id in resource_ids:
        assert_problem(await admin.http.get(f"/api/v1/resources/{resource_id}"), 404, "not-found")
    listed = await admin.http.get("/api/v1/resources", params={"owner": user.id, "count": "exact"})
    assert listed.json()["total"] == 0


async def test_no_resource_created_during_the_deletion_survives(stack: Stack, second_node: Stack) -> None:
    user = await stack.sign_up()
    body = {"type": "note", "data": {"text": "created during the deletion"}}
    clients = [node.client(user.access_token) for node in (stack, second_node)]
    writes = [clients[n % 2].post("/api/v1/resources", json=body) for n in range(16)]
    responses = await asyncio.gather(*writes[:10], user.http.delete(f"/api/v1/users/{user.id}"), *writes[10:])
    assert responses[10].status_code == 204
    assert {response.status_code for response in responses} <= {201, 204, 401}
    assert await places_of(stack.kingpost.database, user.id) == REMAINS
    assert await places_of(stack.kingpost.database, "created during the deletion") == set()


async def test_audit_entries_remain_without_ip_addresses(stack: Stack, admin: Caller) -> None:
    user = await stack.sign_up()
    await user.http.patch(f"/api/v1/users/{user.id}", json={"name": "Ada"})
    await admin.http.patch(f"/api/v1/users/{user.id}", json={"name": "Mrs. King"})
    await delete(user)
    for query in ({"target": user.id}, {"actor": user.id}):
        entries = (await admin.http.get("/api/v1/audit", params=query | {"limit": 100})).json()["items"]
        actions = {entry["action"] for entry in entries}
        assert {"user.changed", "user.deleted"} <= actions
        assert {entry["address"] for entry in entries} == {None}
    (deleted,) = (await admin.http.get("/api/v1/audit", params={"target": user.id, "action": "user.deleted"})).json()[
        "items"
    ]
    assert deleted["actor_id"] == user.id
    assert deleted["request_id"]


async def test_queued_mail_to_a_deleted_account_is_discarded(serve: Serve) -> None:
    # No server listens on port 1, so the mail stays in the queue.
    node = await serve(SIGNUP="verified", MAIL_URL="smtp://127.0.0.1:1")
    admin = await node.sign_up_admin()
    new = NewAccount(f"{secrets.token_hex(8)}@example.com", PASSWORD)
    user = await node.kingpost.accounts.registration.create(OPERATOR, new, ("user",), email_verified=True)
    caller = await node.log_in(user.email)
    await caller.http.post("/api/v1/auth/password/forgot", json={"email": user.email})
    await caller.http.put(
        f"/api/v1/users/{user.id}/password",
        json={"current_password": PASSWORD, "new_password": "another horse battery"},
    )
    assert await places_of(node.kingpost.database, user.id) >= {"jobs.user_id"}
    await delete(admin, user.id)
    assert "jobs.user_id" not in await places_of(node.kingpost.database, user.id)
    assert await places_of(node.kingpost.database, user.id) <= REMAINS
