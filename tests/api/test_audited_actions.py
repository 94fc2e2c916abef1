"""Every action of the audit log, performed over HTTP: it leaves an entry, and the log contains no secret."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, get_args

import pytest

from kingpost.audit.entries import Action
from kingpost.audit.store import AuditListing
from kingpost.model import OPERATOR, Origin, SortKey
from tests.api import emails, machines
from tests.api.audit_scenarios import NAME, NEW_PASSWORD, AuditScenario, ExpectedEntry, entry_by
from tests.api.stack import PASSWORD, Caller, Serve, Stack
from tests.storage.samples import plain


def entry_by_anonymous(user: Caller) -> ExpectedEntry:
    """The entry of an action without a session."""
    return ExpectedEntry("anonymous", None, "user", user.id)


async def sign_up(scenario: AuditScenario) -> ExpectedEntry:
    email = emails.fresh_email()
    scenario.secrets.add(email)
    created = await scenario.send_ok(None, "POST", "/users", email=email, password=PASSWORD, name=NAME)
    return ExpectedEntry("anonymous", None, "user", created["id"])


async def change(scenario: AuditScenario) -> ExpectedEntry:
    user, email = await scenario.sign_up(), emails.fresh_email()
    scenario.secrets.add(email)
    fields = {"name": NAME, "email": email, "current_password": PASSWORD, "metadata": {"note": NAME}}
    await scenario.send_ok(user, "PATCH", f"/users/{user.id}", **fields)
    return entry_by(user)


async def delete(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    await scenario.send_ok(user, "DELETE", f"/users/{user.id}")
    # The deletion of an account also removes the IP addresses from its entries.
    return ExpectedEntry("user", user.id, "user", user.id, address=None)


async def export(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    await scenario.send_ok(user, "GET", f"/users/{user.id}/export")
    return entry_by(user)


async def verify_email(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    response = await user.http.post("/api/v1/auth/email/resend")
    assert response.status_code == 202, response.text
    token = await emails.newest_token(scenario.stack, user.email, emails.VERIFY)
    scenario.secrets.add(token)
    await scenario.send_ok(None, "POST", "/auth/email/verify", token=token)
    return entry_by_anonymous(user)


async def remove_what_was_set_up(scenario: AuditScenario) -> ExpectedEntry:
    return await verify_email(scenario)


async def begin_change_of_address(scenario: AuditScenario) -> Caller:
    """Ask for a new address on a server that demands its confirmation."""
    user, email = await emails.verified_user(scenario.stack), emails.fresh_email()
    scenario.secrets |= {email, user.email}
    body = {"email": email, "current_password": PASSWORD}
    response = await user.http.patch(f"/api/v1/users/{user.id}", json=body)
    assert response.json()["pending_email"] == email
    return user


async def ask_for_an_address(scenario: AuditScenario) -> ExpectedEntry:
    user, email = await emails.verified_user(scenario.stack), emails.fresh_email()
    scenario.secrets |= {email, user.email}
    await scenario.send_ok(user, "PATCH", f"/users/{user.id}", email=email, current_password=PASSWORD)
    return entry_by(user)


async def withdraw_an_address(scenario: AuditScenario) -> ExpectedEntry:
    user = await begin_change_of_address(scenario)
    await scenario.send_ok(user, "PATCH", f"/users/{user.id}", email=user.email)
    return entry_by(user)


async def stop_an_address(scenario: AuditScenario) -> ExpectedEntry:
    user = await begin_change_of_address(scenario)
    token = await emails.newest_token(scenario.stack, user.email, emails.REQUESTED)
    scenario.secrets.add(token)
    await scenario.send_ok(None, "POST", "/auth/email/stop", token=token)
    return entry_by_anonymous(user)


async def request_verification_link(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    await scenario.send_ok(None, "POST", "/auth/email/resend", email=user.email)
    await scenario.stack.mails(user.email)
    return entry_by_anonymous(user)


async def request_password_reset(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    await scenario.send_ok(None, "POST", "/auth/password/forgot", email=user.email)
    await scenario.stack.mails(user.email)
    return entry_by_anonymous(user)


async def change_password(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    await scenario.send_ok(
        user, "PUT", f"/users/{user.id}/password", current_password=PASSWORD, new_password=NEW_PASSWORD
    )
    return entry_by(user)


async def reset_password(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    await emails.forgot(scenario.stack, user.email)
    token = await emails.newest_token(scenario.stack, user.email, emails.RESET)
    scenario.secrets.add(token)
    await scenario.send_ok(None, "POST", "/auth/password/reset", token=token, new_password=NEW_PASSWORD)
    return entry_by_anonymous(user)


async def log_in(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    grant = await scenario.send_ok(None, "POST", "/auth/login", email=user.email, password=PASSWORD)
    scenario.secrets |= {grant["access_token"], grant["refresh_token"]}
    return entry_by(user)


async def log_in_with_a_wrong_password(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    scenario.secrets.add("a wrong password")
    refused = await scenario.send(None, "POST", "/auth/login", email=user.email, password="a wrong password")
    assert refused.status_code == 401
    return entry_by_anonymous(user)


async def send_a_wrong_current_password(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    scenario.secrets.add("a wrong password")
    body = {"current_password": "a wrong password", "new_password": NEW_PASSWORD}
    refused = await scenario.send(user, "PUT", f"/users/{user.id}/password", **body)
    assert refused.status_code == 403
    return entry_by(user)


async def log_out(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    await scenario.send_ok(user, "POST", "/auth/logout")
    return entry_by(user)


async def reuse_a_refresh_token(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    token = user.refresh_token
    for _ in range(2):
        grant = (await scenario.stack.client().post("/api/v1/auth/refresh", json={"refresh_token": token})).json()
        token = grant["refresh_token"]
        scenario.secrets |= {token, grant["access_token"]}
    refused = await scenario.send(None, "POST", "/auth/refresh", refresh_token=user.refresh_token)
    assert refused.status_code == 401
    return entry_by_anonymous(user)


async def enable_second_factor(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    await scenario.enrol(user, audited=True)
    return entry_by(user)


async def disable_second_factor(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    codes = await scenario.enrol(user)
    await scenario.send_ok(user, "DELETE", "/auth/totp", password=PASSWORD, otp=codes[0])
    return entry_by(user)


async def use_a_recovery_code(scenario: AuditScenario) -> ExpectedEntry:
    user = await scenario.sign_up()
    codes = await scenario.enrol(user)
    await scenario.send_ok(None, "POST", "/auth/login", email=user.email, password=PASSWORD, otp=codes[0])
    return entry_by_anonymous(user)


async def export_the_log(scenario: AuditScenario) -> ExpectedEntry:
    await scenario.send(scenario.admin, "GET", f"/audit/export?actor={scenario.admin.id}")
    return ExpectedEntry("user", scenario.admin.id, "audit_log", None)


ACTIONS: Mapping[str, Callable[[AuditScenario], Awaitable[ExpectedEntry]]] = {
    "user.created": sign_up,
    "user.changed": change,
    "user.deleted": delete,
    "user.exported": export,
    "user.email_verified": verify_email,
    "user.setup_removed": remove_what_was_set_up,
    "user.verification_requested": request_verification_link,
    "user.reset_requested": request_password_reset,
    "user.password_changed": change_password,
    "user.password_reset": reset_password,
    "user.proof_refused": send_a_wrong_current_password,
    "session.started": log_in,
    "session.refused": log_in_with_a_wrong_password,
    "session.ended": log_out,
    "session.refresh_token_reused": reuse_a_refresh_token,
    "second_factor.enabled": enable_second_factor,
    "second_factor.disabled": disable_second_factor,
    "second_factor.recovery_code_used": use_a_recovery_code,
    "api_key.created": machines.create_key_audited,
    "api_key.revoked": machines.revoke_key_audited,
    "audit.exported": export_the_log,
}
STRICT_ACTIONS: Mapping[str, Callable[[AuditScenario], Awaitable[ExpectedEntry]]] = {
    "user.email_change_requested": ask_for_an_address,
    "user.email_change_withdrawn": withdraw_an_address,
    "user.email_change_stopped": stop_an_address,
}
"""Actions on a server that requires verified addresses."""
OPERATOR_ACTIONS = {"signing_key.created", "signing_key.retired"}
"""Actions of the command line or of the server itself, without a request."""


def test_every_action_is_tested() -> None:
    assert ACTIONS.keys() | STRICT_ACTIONS.keys() | OPERATOR_ACTIONS == set(get_args(Action.__value__))


async def whole_log(stack: Stack) -> list[dict[str, Any]]:
    log, listing, entries = stack.kingpost.stores.audit, AuditListing((SortKey("id", True),), 500), []
    page = await log.list(listing)
    entries += page.items
    while page.next is not None:
        page = await log.list(AuditListing(listing.sort, listing.limit, page.next))
        entries += page.items
    items: list[dict[str, Any]] = plain(entries)
    return items


@pytest.mark.parametrize("action", ACTIONS)
async def test_each_action_is_audited_without_secrets(stack: Stack, admin: Caller, action: str) -> None:
    await check(AuditScenario(stack, admin), action, ACTIONS[action])


@pytest.mark.parametrize("action", STRICT_ACTIONS)
async def test_each_step_of_a_change_of_address_is_audited_without_secrets(strict: Stack, action: str) -> None:
    await check(AuditScenario(strict, await strict.sign_up_admin()), action, STRICT_ACTIONS[action])


async def check(
    scenario: AuditScenario, action: str, perform: Callable[[AuditScenario], Awaitable[ExpectedEntry]]
) -> None:
    expected = await perform(scenario)
    stack, admin = scenario.stack, scenario.admin
    response = await admin.http.get("/api/v1/audit", params={"action": action, "limit": 100})
    entries = [entry for entry in response.json()["items"] if entry["request_id"] == scenario.request_id]
    assert len(entries) == 1, response.text
    assert {name: entries[0][name] for name in vars(expected)} == vars(expected)
    text = str(await whole_log(stack))
    for secret in scenario.secrets:
        assert secret not in text
    assert "@" not in text


async def test_failed_actions_leave_no_entry_of_success(stack: Stack, admin: Caller) -> None:
    user, other = await stack.sign_up(), await stack.sign_up()
    scenario = AuditScenario(stack, admin)
    path = f"/users/{user.id}"
    refusals = [
        await scenario.send(None, "POST", "/users", email=user.email, password=PASSWORD),
        await scenario.send(other, "PATCH", path, name=NAME),
        await scenario.send(user, "PATCH", path, roles=["admin"]),
        await scenario.send(user, "PUT", f"{path}/password", current_password="wrong wrong", new_password=NEW_PASSWORD),
        await scenario.send(other, "DELETE", path),
        await scenario.send(other, "GET", f"{path}/export"),
        await scenario.send(other, "GET", "/audit/export"),
        await scenario.send(None, "POST", "/auth/password/reset", token="x" * 43, new_password=NEW_PASSWORD),
        await scenario.send(None, "POST", "/auth/refresh", refresh_token="forged"),
    ]
    assert {response.status_code for response in refusals} <= {400, 401, 403, 409}
    entries = [entry for entry in await whole_log(stack) if entry["request_id"] == scenario.request_id]
    # A wrong current password is an audited event of its own.
    assert [entry["action"] for entry in entries] == ["user.proof_refused"]


async def test_actions_of_operators_on_signing_keys_are_audited(serve: Serve) -> None:
    stack = await serve()
    admin = await stack.sign_up_admin()
    new_key = await stack.kingpost.auth.key_rotation.rotate(OPERATOR)
    created = (await admin.http.get("/api/v1/audit", params={"target": new_key.id})).json()["items"]
    assert [(entry["action"], entry["actor_type"], entry["target_type"]) for entry in created] == [
        ("signing_key.created", "operator", "signing_key")
    ]
    await stack.kingpost.auth.key_rotation.retire(OPERATOR, new_key.id)
    entries = (await admin.http.get("/api/v1/audit", params={"target": new_key.id, "sort": "id"})).json()["items"]
    assert [(entry["action"], entry["actor_type"], entry["actor_id"], entry["address"]) for entry in entries] == [
        ("signing_key.created", "operator", None, None),
        ("signing_key.retired", "operator", None, None),
    ]


async def test_an_account_created_by_the_operator_has_the_operator_as_actor(stack: Stack, admin: Caller) -> None:
    new_admin = await stack.sign_up_admin()
    query = {"target": new_admin.id, "action": "user.created"}
    (entry,) = (await admin.http.get("/api/v1/audit", params=query)).json()["items"]
    assert (entry["actor_type"], entry["actor_id"], entry["address"]) == ("operator", None, Origin().address)
