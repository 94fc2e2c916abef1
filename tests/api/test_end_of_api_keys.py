"""How API keys are revoked or lose permissions, and what is recorded about them."""

import asyncio
from typing import Any

import pytest

from kingpost import clock
from kingpost.auth.api_keys.service import CACHE_LIFETIME
from tests.api.audit_scenarios import AuditScenario
from tests.api.emails import NEW_PASSWORD, RESET, VERIFY, forgot, newest_token, reset, verify
from tests.api.machines import KEYS, ME, NEW_KEY, list_keys, make_key
from tests.api.stack import UNKNOWN_ID, Caller, Stack, assert_problem, faults_of
from tests.storage.traces import REMAINS, places_of

PROPAGATION_TIME = 1.0
"""Seconds after which every node knows that a key or session has ended."""

# --- last use ------------------------------------------------------------------------------------


async def test_the_first_use_is_recorded_at_once_and_later_uses_once_a_minute(stack: Stack) -> None:
    owner = await stack.sign_up()
    unused, machine = await make_key(stack, owner), await make_key(stack, owner, ["users:read"])
    before = clock.now()
    assert await machine.status() == 200
    used_at, never = [item["last_used_at"] for item in await list_keys(owner)]
    assert before <= used_at <= clock.now()
    assert never is None
    await asyncio.sleep(CACHE_LIFETIME)
    assert await machine.status() == 200
    assert (await list_keys(owner))[0]["last_used_at"] == used_at
    old = clock.shifted(used_at, -60)
    await stack.execute(f"UPDATE api_keys SET last_used_at = '{old}' WHERE id = '{machine.id}'")
    await asyncio.sleep(CACHE_LIFETIME)
    assert await machine.status() == 200
    assert (await list_keys(owner))[0]["last_used_at"] > used_at
    assert await unused.status() == 200


# --- the end of keys -----------------------------------------------------------------------------


async def test_a_revoked_key_is_refused_at_once(stack: Stack) -> None:
    owner = await stack.sign_up()
    kept, machine = await make_key(stack, owner), await make_key(stack, owner)
    assert [await kept.status(), await machine.status()] == [200, 200]
    response = await owner.http.delete(f"{KEYS}/{machine.id}")
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(await machine.http.get(ME), 401, "unauthenticated")
    assert await kept.status() == 200
    assert [item["id"] for item in await list_keys(owner)] == [kept.id]
    assert_problem(await owner.http.delete(f"{KEYS}/{machine.id}"), 404, "not-found")


async def test_a_key_is_revoked_by_its_owner_or_an_administrator(stack: Stack, bob: Caller, admin: Caller) -> None:
    machine = await make_key(stack, await stack.sign_up())
    assert_problem(await bob.http.delete(f"{KEYS}/{machine.id}"), 403, "forbidden")
    assert_problem(await bob.http.delete(f"{KEYS}/{UNKNOWN_ID}"), 404, "not-found")
    assert faults_of(await bob.http.delete(f"{KEYS}/{machine.key}")) == ["id"]
    assert await machine.status() == 200
    assert (await admin.http.delete(f"{KEYS}/{machine.id}")).status_code == 204
    assert await machine.status() == 401


async def test_exactly_one_of_many_concurrent_revocations_succeeds(stack: Stack) -> None:
    owner = await stack.sign_up()
    machine = await make_key(stack, owner)
    responses = await asyncio.gather(*[owner.http.delete(f"{KEYS}/{machine.id}") for _ in range(8)])
    assert sorted(response.status_code for response in responses) == [204] + [404] * 7


async def test_keys_of_a_suspended_account_are_refused_until_it_is_active_again(stack: Stack, admin: Caller) -> None:
    owner = await stack.sign_up()
    machine = await make_key(stack, owner)
    # The account has no session left that the suspension could end.
    await owner.http.post("/api/v1/auth/logout")
    assert await machine.status() == 200
    path = f"/api/v1/users/{owner.id}"
    for status, expected in (("suspended", 401), ("active", 200)):
        assert (await admin.http.patch(path, json={"status": status})).status_code == 200
        assert await machine.status() == expected


async def test_a_key_gains_and_loses_the_roles_of_its_owner_at_once(stack: Stack, admin: Caller) -> None:
    owner = await stack.sign_up()
    machine = await make_key(stack, owner)
    assert await machine.status("/api/v1/users") == 403
    for roles, expected in ((["user", "admin"], 200), (["user"], 403)):
        assert (await admin.http.patch(f"/api/v1/users/{owner.id}", json={"roles": roles})).status_code == 200
        assert await machine.status("/api/v1/users") == expected
        assert await machine.status(f"/api/v1/users/{admin.id}") == expected


async def test_only_the_key_of_an_administrator_with_users_admin_can_set_roles(stack: Stack) -> None:
    admin, user = await stack.sign_up_admin(), await stack.sign_up()
    path, body = f"/api/v1/users/{user.id}", {"roles": ["user", "editor"]}
    user_key, admin_key = await make_key(stack, user), await make_key(stack, admin, ["users:admin"])
    assert_problem(await user_key.http.patch(path, json=body), 403, "forbidden")
    changed = await admin_key.http.patch(path, json=body)
    assert changed.json()["roles"] == body["roles"]
    # It can also remove the role of its own owner. After that, it is no longer the key of an administrator.
    demoted = await admin_key.http.patch(f"/api/v1/users/{admin.id}", json={"roles": ["user"]})
    assert demoted.status_code == 200
    assert_problem(await admin_key.http.patch(path, json=body), 403, "forbidden")


async def test_keys_are_deleted_with_their_account(stack: Stack, admin: Caller) -> None:
    first, second = await stack.sign_up(), await stack.sign_up()
    keys = [await make_key(stack, first), await make_key(stack, second)]
    assert [await machine.status() for machine in keys] == [200, 200]
    assert (await admin.http.delete(f"/api/v1/users/{first.id}")).status_code == 204
    assert (await second.http.delete(f"/api/v1/users/{second.id}")).status_code == 204
    for machine in keys:
        assert_problem(await machine.http.get(ME), 401, "unauthenticated")
        assert_problem(await admin.http.delete(f"{KEYS}/{machine.id}"), 404, "not-found")


async def test_keys_of_a_deleted_account_are_refused_at_once_here_and_within_a_second_on_other_nodes(
    stack: Stack, second_node: Stack
) -> None:
    owner = await stack.sign_up()
    machine = await make_key(stack, owner)
    other_node = second_node.client(machine.key)
    assert [await machine.status(), (await other_node.get(ME)).status_code] == [200, 200]
    assert (await owner.http.delete(f"/api/v1/users/{owner.id}")).status_code == 204
    assert_problem(await machine.http.get(ME), 401, "unauthenticated")
    await asyncio.sleep(PROPAGATION_TIME)
    assert_problem(await other_node.get(ME), 401, "unauthenticated")


async def test_deleting_an_account_deletes_all_data_of_its_keys(stack: Stack) -> None:
    owner = await stack.sign_up()
    name = f"Lovelace's key {owner.id}"
    await make_key(stack, owner, name=name)
    assert "api_keys.name" in await places_of(stack.kingpost.database, name)
    assert (await owner.http.delete(f"/api/v1/users/{owner.id}")).status_code == 204
    assert await places_of(stack.kingpost.database, name) == set()
    assert await places_of(stack.kingpost.database, owner.id) <= REMAINS


async def test_no_key_created_during_the_deletion_of_its_account_survives(stack: Stack, second_node: Stack) -> None:
    owner = await stack.sign_up()
    note = {"type": "note", "data": {"text": "created during the deletion"}}
    clients = [node.client(owner.access_token) for node in (stack, second_node)]
    writes = [clients[n % 2].post("/api/v1/resources", json=note) for n in range(16)]
    writes += [clients[n % 2].post(KEYS, json=NEW_KEY) for n in range(4)]
    responses = await asyncio.gather(*writes[:10], owner.http.delete(f"/api/v1/users/{owner.id}"), *writes[10:])
    assert responses[10].status_code == 204
    assert {response.status_code for response in responses} <= {201, 204, 401}
    assert await places_of(stack.kingpost.database, owner.id) == REMAINS


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM api_keys WHERE id = '{key}'",
        "UPDATE api_keys SET expires_at = '2020-01-01T00:00:00.000Z' WHERE id = '{key}'",
        "UPDATE users SET status = 'suspended' WHERE id = '{owner}'",
    ],
)
async def test_changes_by_another_node_take_effect_within_a_second(stack: Stack, change: str) -> None:
    owner = await stack.sign_up()
    machine = await make_key(stack, owner)
    assert await machine.status() == 200
    await stack.execute(change.format(key=machine.id, owner=owner.id))
    await asyncio.sleep(CACHE_LIFETIME)
    assert await machine.status() == 401


async def test_keys_stay_valid_after_a_password_change(stack: Stack) -> None:
    owner = await stack.sign_up()
    machine = await make_key(stack, owner)
    passwords = {"current_password": owner.password, "new_password": "staple battery horse"}
    assert (await owner.http.put(f"/api/v1/users/{owner.id}/password", json=passwords)).status_code == 204
    assert await machine.status() == 200


# --- logout everywhere, and a reset by mail ---------------------------------------------------------

EVERYTHING: dict[str, Any] = {"everywhere": True}
KEEPING: dict[str, Any] = {"everywhere": True, "keep_api_keys": True}


async def log_out(owner: Caller, stack: Stack, how: str, body: dict[str, Any]) -> None:
    """Log out with one of the two credentials of a session."""
    if how == "access token":
        response = await owner.http.post("/api/v1/auth/logout", json=body)
    else:
        body = {"refresh_token": owner.refresh_token, **body}
        response = await stack.client().post("/api/v1/auth/logout", json=body)
    assert response.status_code == 204, response.text


@pytest.mark.parametrize("how", ["access token", "refresh token"])
@pytest.mark.parametrize(
    ("body", "sessions", "keys"),
    [
        ({}, 1, 200),
        ({"everywhere": False}, 1, 200),
        ({"everywhere": False, "keep_api_keys": False}, 1, 200),
        ({"keep_api_keys": False}, 1, 200),
        (EVERYTHING, 0, 401),
        ({"everywhere": True, "keep_api_keys": False}, 0, 401),
        (KEEPING, 0, 200),
    ],
)
async def test_a_logout_everywhere_ends_all_keys_on_every_node_unless_they_are_kept(
    stack: Stack, second_node: Stack, how: str, body: dict[str, Any], sessions: int, keys: int
) -> None:
    owner, bystander = await stack.sign_up(), await stack.sign_up()
    other = await stack.log_in(owner.email)
    machines = [await make_key(stack, owner) for _ in range(2)]
    foreign = await make_key(stack, bystander)
    other_node = second_node.client(machines[0].key)
    assert (await other_node.get(ME)).status_code == 200
    await log_out(owner, stack, how, body)
    assert [await machine.status() for machine in machines] == [keys] * 2
    assert [(await caller.http.get(ME)).status_code for caller in (owner, other)] == [401, 200 if sessions else 401]
    assert await foreign.status() == 200
    await asyncio.sleep(PROPAGATION_TIME)
    assert (await other_node.get(ME)).status_code == keys


@pytest.mark.parametrize("more", [{}, {"everywhere": False}])
async def test_keys_can_be_kept_only_from_a_logout_everywhere(stack: Stack, more: dict[str, Any]) -> None:
    owner = await stack.sign_up()
    for body in ({"keep_api_keys": True}, {"keep_api_keys": True, "refresh_token": owner.refresh_token}):
        response = await owner.http.post("/api/v1/auth/logout", json=body | more)
        assert faults_of(response) == ["/keep_api_keys"]
        assert "everywhere" in response.json()["errors"][0]["detail"]
    for value in ("yes", 1, None):
        invalid = {"everywhere": True, "keep_api_keys": value}
        assert faults_of(await owner.http.post("/api/v1/auth/logout", json=invalid)) == ["/keep_api_keys"]
    assert (await owner.http.get(ME)).status_code == 200


async def test_a_repeated_logout_everywhere_does_not_end_keys_that_were_created_since(stack: Stack) -> None:
    owner = await stack.sign_up()
    await log_out(owner, stack, "refresh token", EVERYTHING)
    machine = await make_key(stack, await stack.log_in(owner.email))
    await log_out(owner, stack, "refresh token", EVERYTHING)
    assert await machine.status() == 200


async def test_ending_sessions_does_not_end_keys(stack: Stack, admin: Caller) -> None:
    owner = await stack.sign_up()
    machine = await make_key(stack, owner)
    assert (await owner.http.delete("/api/v1/auth/sessions")).status_code == 204
    assert (await owner.http.delete(f"/api/v1/auth/sessions/{owner.session_id}")).status_code == 204
    assert (await admin.http.delete(f"/api/v1/users/{owner.id}/sessions")).status_code == 204
    assert await machine.status() == 200


async def test_no_key_created_during_a_logout_everywhere_survives(stack: Stack, second_node: Stack) -> None:
    owner = await stack.sign_up()
    clients = [node.client(owner.access_token) for node in (stack, second_node)]
    creations = [clients[n % 2].post(KEYS, json=NEW_KEY) for n in range(12)]
    logout = owner.http.post("/api/v1/auth/logout", json=EVERYTHING)
    responses = await asyncio.gather(*creations[:6], logout, *creations[6:])
    assert responses[6].status_code == 204
    assert {response.status_code for response in responses} <= {201, 204, 401}
    assert await list_keys(await stack.log_in(owner.email)) == []


async def test_a_logout_everywhere_is_audited_with_the_keys_that_it_ended(stack: Stack, admin: Caller) -> None:
    for body, expected in (
        (EVERYTHING, [("session.ended", {"sessions": "all"}), ("api_key.revoked", {"api_keys": "all"})]),
        (KEEPING, [("session.ended", {"sessions": "all"})]),
    ):
        owner = await stack.sign_up()
        await make_key(stack, owner)
        await log_out(owner, stack, "access token", body)
        response = await admin.http.get("/api/v1/audit", params={"target": owner.id, "sort": "created_at"})
        ended = response.json()["items"][-len(expected) :]
        assert [(entry["action"], entry["details"]) for entry in ended] == expected
        assert {entry["actor_id"] for entry in ended} == {owner.id}


@pytest.mark.parametrize(
    ("more", "status", "told"),
    [
        ({}, 401, "All its API keys were revoked."),
        ({"keep_api_keys": False}, 401, "All its API keys were revoked."),
        ({"keep_api_keys": True}, 200, "Its API keys still work."),
    ],
)
async def test_a_reset_by_mail_ends_keys_on_every_node_unless_they_are_kept(
    stack: Stack, second_node: Stack, admin: Caller, more: dict[str, Any], status: int, told: str
) -> None:
    owner = await stack.sign_up()
    assert (await verify(stack, await newest_token(stack, owner.email, VERIFY), owner)).status_code == 204
    machine = await make_key(stack, owner)
    other_node = second_node.client(machine.key)
    assert (await other_node.get(ME)).status_code == 200
    await forgot(stack, owner.email)
    token = await newest_token(stack, owner.email, RESET)
    assert (await reset(stack, token, **more)).status_code == 204
    assert await machine.status() == status
    message = await stack.mail(owner.email)
    for kind in ("plain", "html"):
        part = message.get_body((kind,))
        assert part is not None
        assert told in part.get_content()
    response = await admin.http.get("/api/v1/audit", params={"target": owner.id, "action": "api_key.revoked"})
    assert [entry["details"] for entry in response.json()["items"]] == ([] if status == 200 else [{"api_keys": "all"}])
    await asyncio.sleep(PROPAGATION_TIME)
    assert (await other_node.get(ME)).status_code == status


async def test_a_refused_reset_ends_no_key(stack: Stack) -> None:
    owner = await stack.sign_up()
    machine = await make_key(stack, owner)
    await forgot(stack, owner.email)
    token = await newest_token(stack, owner.email, RESET)
    for refused in ({"token": "x"}, {"token": token, "new_password": "short"}, {"token": token, "keep_api_keys": 1}):
        body = {"new_password": NEW_PASSWORD} | refused
        assert (await stack.client().post("/api/v1/auth/password/reset", json=body)).status_code == 400
    assert await machine.status() == 200


# --- the first verification of an address ----------------------------------------------------------


async def test_keys_from_before_the_verification_end_when_the_owner_of_the_address_resets_the_password(
    stack: Stack,
) -> None:
    intruder = await stack.sign_up()
    key = (await intruder.http.post(KEYS, json=NEW_KEY)).json()["key"]
    machine = stack.client(key)
    assert (await machine.get(ME)).status_code == 200
    await forgot(stack, intruder.email)
    assert (await reset(stack, await newest_token(stack, intruder.email, RESET), keep_api_keys=True)).status_code == 204
    assert "revoked" in (await stack.mail(intruder.email)).as_string()
    assert_problem(await machine.get(ME), 401, "unauthenticated")
    # Now the address is verified: its owner made this key, so a password reset does not revoke it.
    owner = await stack.log_in(intruder.email, NEW_PASSWORD)
    key = (await owner.http.post(KEYS, json=NEW_KEY | {"password": NEW_PASSWORD})).json()["key"]
    await forgot(stack, intruder.email)
    token = await newest_token(stack, intruder.email, RESET)
    assert (await reset(stack, token, "another battery staple", keep_api_keys=True)).status_code == 204
    assert (await stack.client(key).get(ME)).status_code == 200


async def test_keys_from_before_the_verification_end_with_it_unless_the_owner_verifies_while_logged_in(
    stack: Stack, second_node: Stack
) -> None:
    for is_logged_in in (False, True):
        owner = await stack.sign_up()
        machine = await make_key(stack, owner)
        there = second_node.client(machine.key)
        assert (await machine.status(), (await there.get(ME)).status_code) == (200, 200)
        token = await newest_token(stack, owner.email, VERIFY)
        assert (await verify(stack, token, owner if is_logged_in else None)).status_code == 204
        assert await machine.status() == (200 if is_logged_in else 401)
        await asyncio.sleep(CACHE_LIFETIME)
        assert (await there.get(ME)).status_code == (200 if is_logged_in else 401)


async def test_a_reset_can_keep_keys_of_an_account_that_was_verified_from_the_start(stack: Stack) -> None:
    admin = await stack.sign_up_admin()
    machine = await make_key(stack, admin)
    await forgot(stack, admin.email)
    assert (await reset(stack, await newest_token(stack, admin.email, RESET), keep_api_keys=True)).status_code == 204
    assert await machine.status() == 200


# --- audit log and export ------------------------------------------------------------------------


async def test_the_audit_log_records_keys_and_their_actions_without_the_key_itself(stack: Stack, admin: Caller) -> None:
    owner = await stack.sign_up()
    machine = await make_key(stack, owner, ["users:write"], expires_at=(expires_at := clock.after(60)))
    changed = await machine.http.patch(f"/api/v1/users/{owner.id}", json={"name": "Ada"})
    assert changed.status_code == 200
    await admin.http.delete(f"{KEYS}/{machine.id}")

    async def entries(**query: str) -> list[dict[str, Any]]:
        response = await admin.http.get("/api/v1/audit", params={"sort": "created_at"} | query)
        assert machine.key not in response.text
        items: list[dict[str, Any]] = response.json()["items"]
        return items

    created, revoked = await entries(target=machine.id)
    assert (created["action"], created["actor_id"], created["actor_type"]) == ("api_key.created", owner.id, "user")
    assert created["details"] == {"scopes": ["users:write"], "expires_at": expires_at}
    assert (revoked["action"], revoked["actor_id"]) == ("api_key.revoked", admin.id)
    assert revoked["details"] == {"user_id": owner.id}
    (by_key,) = await entries(target=owner.id, action="user.changed")
    assert (by_key["actor_type"], by_key["actor_id"]) == ("api_key", owner.id)
    assert by_key["details"]["api_key_id"] == machine.id


async def test_a_refused_key_creation_leaves_no_audit_entry(stack: Stack, admin: Caller) -> None:
    scenario = AuditScenario(stack, admin)
    owner = await scenario.sign_up()
    refused = await scenario.send(owner, "POST", "/api-keys", name="x", scopes=["everything"])
    assert refused.status_code == 400
    response = await admin.http.get("/api/v1/audit", params={"actor": owner.id, "limit": 100})
    assert scenario.request_id not in [entry["request_id"] for entry in response.json()["items"]]


async def test_an_account_export_lists_the_keys_without_the_key_itself(stack: Stack) -> None:
    owner = await stack.sign_up()
    path = f"/api/v1/users/{owner.id}/export"
    assert (await owner.http.get(path)).json()["api_keys"] == []
    machine = await make_key(stack, owner)
    export = await owner.http.get(path)
    assert export.json()["api_keys"] == await list_keys(owner)
    assert machine.key not in export.text
