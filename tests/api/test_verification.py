"""Section 4 of the contract: verified addresses. Section 3: changing addresses, and sign-up with verification."""

import asyncio
import html
import json
from typing import Any

import httpx
import pytest

from kingpost import clock
from kingpost.problems import Unavailable
from tests.api.emails import (
    CONFIRM,
    MOVED,
    NEW_PASSWORD,
    REQUESTED,
    RESET,
    SET_PASSWORD,
    VERIFY,
    forgot,
    fresh_email,
    log_in,
    newest_token,
    post,
    reset,
    sign_up,
    subjects,
    tokens,
    verified_user,
    verify,
)
from tests.api.stack import PASSWORD, Caller, Serve, Stack, assert_problem, faults_of

ATTACKERS_PASSWORD = "the attacker's password"
VICTIMS_PASSWORD = "the victim's own password"


async def me(caller: Caller) -> dict[str, Any]:
    user: dict[str, Any] = (await caller.http.get("/api/v1/users/me")).json()
    return user


async def resend(stack: Stack, email: str) -> httpx.Response:
    return await post(stack, "/auth/email/resend", email=email)


async def change_email(caller: Caller, email: str) -> httpx.Response:
    """Request a new address for the caller's own account."""
    body = {"email": email, "current_password": PASSWORD}
    return await caller.http.patch(f"/api/v1/users/{caller.id}", json=body)


async def text_of_newest_message(stack: Stack, to: str) -> str:
    """The headers and both parts of the newest message."""
    message = await stack.mail(to)
    parts = [message.get_body((kind,)) for kind in ("plain", "html")]
    return "\n".join([*map(str, message.values()), *[part.get_content() for part in parts if part is not None]])


# --- who asked for a link ------------------------------------------------------------------------

STRANGER, BROWSER = "203.0.113.66", "Mozilla/5.0 <b>evil</b> & 'co'"


async def page(stack: Stack, token: str | None) -> str:
    params = {} if token is None else {"token": token}
    response = await stack.client().get("/email/verify", params=params)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    return response.text


async def test_the_page_of_a_link_says_who_signed_up_when_and_from_where(stack: Stack, strict: Stack) -> None:
    for server in (stack, strict):
        email, name = fresh_email(), 'Eve <script>alert(1)</script> "& sons"'
        client = server.client(address=STRANGER, **{"User-Agent": BROWSER})
        body = {"email": email, "password": PASSWORD, "name": name}
        before = clock.to_the_minute(clock.now())
        assert (await client.post("/api/v1/users", json=body)).is_success
        token = await newest_token(server, email, VERIFY)
        shown = await page(server, token)
        after = clock.to_the_minute(clock.now())
        for value in (email, name, STRANGER, BROWSER):
            assert f"<dd><bdi>{html.escape(value)}</bdi></dd>" in shown
        assert before in shown or after in shown
        assert "someone else used your address" in shown
        assert "<script>alert" not in shown
        assert "<b>evil" not in shown
        # The page does not use the token, however often it is loaded.
        assert await page(server, token) == shown
        assert (await verify(server, token)).status_code == 204
        assert "<dd>" not in await page(server, token)


async def test_the_message_says_when_and_from_where_but_nothing_that_a_stranger_wrote(stack: Stack) -> None:
    email = fresh_email()
    client = stack.client(address=STRANGER, **{"User-Agent": "visit evil.example"})
    body = {"email": email, "password": PASSWORD, "name": "You won, see evil.example"}
    assert (await client.post("/api/v1/users", json=body)).status_code == 201
    text = await text_of_newest_message(stack, email)
    assert text.count(f"UTC from {STRANGER}.") == 2
    assert "evil.example" not in text


async def test_the_page_says_who_asked_for_the_newest_link(stack: Stack) -> None:
    caller = await stack.sign_up()
    first = await newest_token(stack, caller.email, VERIFY)
    await stack.client(address=STRANGER).post("/api/v1/auth/email/resend", json={"email": caller.email})
    token = await newest_token(stack, caller.email, VERIFY)
    assert token != first
    assert f"<bdi>{STRANGER}</bdi>" in await page(stack, token)
    assert "<dd>" not in await page(stack, first)


async def test_the_page_of_a_new_address_says_who_asked_for_the_change(strict: Stack) -> None:
    caller, email = await verified_user(strict), fresh_email()
    http = strict.client(caller.access_token, address=STRANGER)
    body = {"email": email, "current_password": PASSWORD}
    assert (await http.patch(f"/api/v1/users/{caller.id}", json=body)).status_code == 200
    shown = await page(strict, await newest_token(strict, email, CONFIRM))
    assert f"<bdi>{email}</bdi>" in shown
    assert f"<bdi>{STRANGER}</bdi>" in shown
    assert f"UTC from {STRANGER}." in await text_of_newest_message(strict, email)


async def test_the_page_says_nothing_about_unknown_links_and_links_for_passwords(stack: Stack) -> None:
    caller = await stack.sign_up()
    await forgot(stack, caller.email)
    for token in (None, "", "unknown", "<script>", await newest_token(stack, caller.email, RESET)):
        shown = await page(stack, token)
        assert "<dd>" not in shown
        assert "<script>" not in shown
        assert caller.email not in shown


async def test_the_page_does_not_say_where_an_administrator_works(stack: Stack) -> None:
    admin, email = await stack.sign_up_admin(), fresh_email()
    http = stack.client(admin.access_token, address=STRANGER)
    created = await http.post("/api/v1/users", json={"email": email, "password": PASSWORD})
    moved = fresh_email()
    await http.patch(f"/api/v1/users/{created.json()['id']}", json={"email": moved})
    for to in (moved, email):
        assert STRANGER not in await text_of_newest_message(stack, to)
    shown = await page(stack, await newest_token(stack, moved, VERIFY))
    assert f"<bdi>{moved}</bdi>" in shown
    assert STRANGER not in shown


async def test_the_page_works_while_the_database_does_not_answer(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = await serve()
    caller = await stack.sign_up()
    token = await newest_token(stack, caller.email, VERIFY)

    async def unavailable(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(type(stack.kingpost.stores.one_time_tokens), "find", unavailable)
    assert "<button" in await page(stack, token)


# --- verifying -----------------------------------------------------------------------------------


async def test_a_link_in_mail_verifies_the_address_once(stack: Stack) -> None:
    caller = await stack.sign_up()
    before = await caller.http.get("/api/v1/users/me")
    assert before.json()["email_verified"] is False
    token = await newest_token(stack, caller.email, VERIFY)
    response = await verify(stack, token, caller)
    assert (response.status_code, response.content) == (204, b"")
    after = await caller.http.get("/api/v1/users/me")
    assert after.json() == before.json() | {"email_verified": True, "updated_at": after.json()["updated_at"]}
    assert after.headers["etag"] != before.headers["etag"]
    assert faults_of(await verify(stack, token)) == ["/token"]


async def test_exactly_one_of_many_concurrent_uses_of_a_link_succeeds(stack: Stack) -> None:
    caller = await stack.sign_up()
    token = await newest_token(stack, caller.email, VERIFY)
    responses = await asyncio.gather(*[verify(stack, token) for _ in range(8)])
    assert sorted(response.status_code for response in responses) == [204] + 7 * [400]


async def test_a_new_link_invalidates_the_older_link(stack: Stack) -> None:
    caller = await stack.sign_up()
    response = await caller.http.post("/api/v1/auth/email/resend")
    assert response.status_code == 202
    older, newer = await tokens(stack, caller.email, VERIFY)
    assert faults_of(await verify(stack, older)) == ["/token"]
    assert (await verify(stack, newer)).status_code == 204


async def test_an_expired_link_is_refused_and_a_new_link_can_be_requested(stack: Stack) -> None:
    caller = await stack.sign_up()
    token = await newest_token(stack, caller.email, VERIFY)
    await stack.execute(
        f"UPDATE one_time_tokens SET expires_at = '2020-01-01T00:00:00.000Z' WHERE user_id = '{caller.id}'"
    )
    response = await verify(stack, token)
    assert faults_of(response) == ["/token"]
    assert response.json()["errors"][0]["code"] == "token"
    await resend(stack, caller.email.upper())
    assert (await verify(stack, await newest_token(stack, caller.email, VERIFY))).status_code == 204


async def test_a_verified_address_gets_no_more_links(stack: Stack) -> None:
    caller = await stack.sign_up()
    assert (await verify(stack, await newest_token(stack, caller.email, VERIFY))).status_code == 204
    await asyncio.gather(resend(stack, caller.email), caller.http.post("/api/v1/auth/email/resend"))
    assert await subjects(stack, caller.email) == [VERIFY]


async def test_resending_a_link_without_a_body_requires_authentication(stack: Stack) -> None:
    caller = await stack.sign_up()
    assert_problem(await stack.client().post("/api/v1/auth/email/resend"), 401, "unauthenticated")
    assert_problem(await stack.client("no token").post("/api/v1/auth/email/resend"), 401, "unauthenticated")
    assert faults_of(await caller.http.post("/api/v1/auth/email/resend", json={})) == ["/email"]
    assert await subjects(stack, caller.email) == [VERIFY]


async def test_accounts_created_by_operators_are_verified_and_those_created_by_administrators_get_a_link(
    stack: Stack,
) -> None:
    admin = await stack.sign_up_admin()
    assert (await me(admin))["email_verified"] is True
    assert await stack.mails(admin.email) == []
    email = fresh_email()
    created = await admin.http.post("/api/v1/users", json={"email": email, "password": PASSWORD})
    assert (created.status_code, created.json()["email_verified"]) == (201, False)
    assert await subjects(stack, email) == [VERIFY]


async def test_the_audit_log_records_verifications_without_email_addresses(strict: Stack) -> None:
    caller = await verified_user(strict)
    new = fresh_email()
    await change_email(caller, new)
    await verify(strict, await newest_token(strict, new, CONFIRM))
    rows = await strict.execute(
        "SELECT action, CAST(details AS text) FROM audit "
        f"WHERE target_id = '{caller.id}' AND action LIKE 'user.%' ORDER BY id"
    )
    verified, asked = "user.email_verified", "user.email_change_requested"
    assert [row[0] for row in rows] == ["user.created", verified, asked, verified, "user.changed"]
    assert json.loads(rows[-1][1]) == {"fields": ["email"]}
    for row in rows:
        assert "@" not in row[1]


# --- changing the address ------------------------------------------------------------------------


async def test_with_open_sign_up_an_address_changes_at_once_and_both_addresses_are_notified(stack: Stack) -> None:
    caller, new = await stack.sign_up(), fresh_email()
    old_link = await newest_token(stack, caller.email, VERIFY)
    assert (await verify(stack, old_link, caller)).status_code == 204
    await forgot(stack, caller.email)
    old_reset = await newest_token(stack, caller.email, RESET)
    response = await change_email(caller, new)
    assert (response.status_code, response.json()["email"], response.json()["email_verified"]) == (200, new, False)
    assert await subjects(stack, new) == [VERIFY]
    assert (await subjects(stack, caller.email))[-1] == MOVED
    text = await text_of_newest_message(stack, caller.email)
    assert new not in text
    assert f"{new[0]}***@example.com" in text
    assert faults_of(await reset(stack, old_reset)) == ["/token"]
    assert (await verify(stack, await newest_token(stack, new, VERIFY), caller)).status_code == 204
    assert (await me(caller))["email_verified"] is True


async def test_address_changes_are_rate_limited(stack: Stack) -> None:
    caller = await stack.sign_up()
    for _ in range(10):
        assert (await change_email(caller, fresh_email())).status_code == 200
    refused = await change_email(caller, "victim@example.com")
    assert_problem(refused, 429, "rate-limited")
    assert int(refused.headers["retry-after"]) > 0
    assert await stack.mails("victim@example.com") == []


async def test_a_link_sent_to_the_previous_address_is_refused(stack: Stack) -> None:
    caller, new = await stack.sign_up(), fresh_email()
    old_link = await newest_token(stack, caller.email, VERIFY)
    await change_email(caller, new)
    assert faults_of(await verify(stack, old_link)) == ["/token"]
    assert (await me(caller))["email_verified"] is False


async def test_an_administrator_changes_an_address_at_once(stack: Stack, strict: Stack, admin: Caller) -> None:
    for server, by, caller in (
        (stack, admin, await stack.sign_up()),
        (strict, await strict.sign_up_admin(), await verified_user(strict)),
    ):
        new = fresh_email()
        response = await by.http.patch(f"/api/v1/users/{caller.id}", json={"email": new})
        assert (response.json()["email"], response.json()["email_verified"]) == (new, False)
        assert await subjects(server, new) == [VERIFY]
        assert (await subjects(server, caller.email))[-1] == MOVED


async def test_changes_of_other_fields_send_no_mail(stack: Stack) -> None:
    caller = await stack.sign_up()
    path = f"/api/v1/users/{caller.id}"
    await caller.http.patch(path, json={"name": "Ada"})
    await caller.http.put(path, json={"email": caller.email, "name": "Countess"})
    assert await subjects(stack, caller.email) == [VERIFY]


async def test_with_verified_sign_up_a_new_address_must_be_confirmed_first(strict: Stack) -> None:
    caller, new = await verified_user(strict), fresh_email()
    before = await me(caller)
    body = {"email": new, "current_password": PASSWORD, "name": "Ada"}
    response = await caller.http.patch(f"/api/v1/users/{caller.id}", json=body)
    assert response.status_code == 200
    changed = {"name": "Ada", "updated_at": response.json()["updated_at"], "pending_email": new}
    assert response.json() == before | changed
    assert await me(caller) == response.json()
    assert await subjects(strict, new) == [CONFIRM]
    assert await subjects(strict, caller.email) == [VERIFY, REQUESTED]
    assert_problem(await log_in(strict, new), 401, "invalid-credentials")
    await strict.log_in(caller.email)
    await forgot(strict, caller.email)
    old_reset = await newest_token(strict, caller.email, RESET)

    assert (await verify(strict, await newest_token(strict, new, CONFIRM))).status_code == 204
    after = await me(caller)
    assert (after["email"], after["email_verified"], after["name"]) == (new, True, "Ada")
    assert after["pending_email"] is None
    assert_problem(await log_in(strict, caller.email), 401, "invalid-credentials")
    assert (await strict.log_in(new)).id == caller.id
    assert (await subjects(strict, caller.email))[-1] == MOVED
    assert new not in await text_of_newest_message(strict, caller.email)
    assert faults_of(await reset(strict, old_reset)) == ["/token"]


async def test_an_administrator_must_confirm_their_own_new_address(strict: Stack) -> None:
    caller, new = await strict.sign_up_admin(), fresh_email()
    assert (await change_email(caller, new)).json()["email"] == caller.email
    assert await subjects(strict, new) == [CONFIRM]


async def test_a_new_address_change_cancels_the_older_one(strict: Stack) -> None:
    caller, first, second = await verified_user(strict), fresh_email(), fresh_email()
    for new in (first, second):
        assert (await change_email(caller, new)).status_code == 200
    assert faults_of(await verify(strict, await newest_token(strict, first, CONFIRM))) == ["/token"]
    assert (await verify(strict, await newest_token(strict, second, CONFIRM))).status_code == 204
    assert (await me(caller))["email"] == second


async def test_only_the_confirmation_link_reveals_that_an_address_is_taken(strict: Stack) -> None:
    caller, other = await verified_user(strict), await verified_user(strict)
    free, taken = await change_email(caller, fresh_email()), await change_email(caller, other.email)
    for name in ("email", "email_verified", "name", "status"):
        assert free.json()[name] == taken.json()[name]
    assert (free.status_code, free.headers.keys()) == (taken.status_code, taken.headers.keys())
    token = await newest_token(strict, other.email, CONFIRM)
    assert_problem(await verify(strict, token), 409, "conflict")
    assert (await me(caller))["email"] == caller.email
    assert (await strict.log_in(other.email)).id == other.id


async def test_exactly_one_of_two_concurrent_confirmations_of_an_address_succeeds(strict: Stack) -> None:
    callers, new = [await verified_user(strict) for _ in range(2)], fresh_email()
    for caller in callers:
        await change_email(caller, new)
    links = await tokens(strict, new, CONFIRM)
    responses = await asyncio.gather(*[verify(strict, link) for link in links])
    assert sorted(response.status_code for response in responses) == [204, 409]


async def test_a_new_password_cancels_a_pending_address_change(strict: Stack) -> None:
    for choose in ("change", "reset"):
        caller, new = await verified_user(strict), fresh_email()
        await change_email(caller, new)  # Perhaps an attacker, who could confirm it later.
        if choose == "change":
            body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
            assert (await caller.http.put(f"/api/v1/users/{caller.id}/password", json=body)).status_code == 204
        else:
            await forgot(strict, caller.email)
            assert (await reset(strict, await newest_token(strict, caller.email, RESET))).status_code == 204
        assert faults_of(await verify(strict, await newest_token(strict, new, CONFIRM))) == ["/token"]
        assert (await strict.log_in(caller.email, NEW_PASSWORD)).id == caller.id


# --- signing up with verification ----------------------------------------------------------------


async def test_an_account_can_log_in_once_its_address_is_verified(strict: Stack) -> None:
    email = fresh_email()
    response = await post(strict, "/users", email=email, password=PASSWORD, name="Ada", metadata={"theme": "dark"})
    assert response.status_code == 202
    assert "location" not in response.headers
    token = await newest_token(strict, email, VERIFY)
    assert_problem(await log_in(strict, email), 401, "invalid-credentials")
    assert (await verify(strict, token)).status_code == 204
    user = (await strict.log_in(email)).grant["user"]
    assert (user["name"], user["metadata"], user["roles"]) == ("Ada", {"theme": "dark"}, ["user"])


async def test_many_concurrent_sign_ups_create_one_account_and_a_limited_number_of_mails(strict: Stack) -> None:
    email = fresh_email()
    await asyncio.gather(*[sign_up(strict, email) for _ in range(13)])
    kinds = await subjects(strict, email)
    assert kinds.count(VERIFY) == 1
    assert len(kinds) == 11
    links = [*await tokens(strict, email, VERIFY), *(await tokens(strict, email, SET_PASSWORD))]
    statuses = [(await verify(strict, link)).status_code for link in links]
    assert statuses == [400] * 11
    assert sorted([(await reset(strict, link)).status_code for link in links]) == [204] + [400] * 10
    await strict.log_in(email, NEW_PASSWORD)


async def test_an_administrator_creates_accounts_at_once(strict: Stack) -> None:
    admin, email = await strict.sign_up_admin(), fresh_email()
    body = {"email": email, "password": PASSWORD}
    assert (await admin.http.post("/api/v1/users", json=body)).status_code == 201
    assert_problem(await admin.http.post("/api/v1/users", json=body), 409, "conflict")
    assert_problem(await log_in(strict, email), 401, "invalid-credentials")
    assert (await verify(strict, await newest_token(strict, email, VERIFY))).status_code == 204
    await strict.log_in(email)
    by_user = await (await strict.log_in(email)).http.post("/api/v1/users", json=body)
    assert by_user.status_code == 202


async def test_a_sign_up_with_the_address_of_a_verified_account_changes_nothing(strict: Stack) -> None:
    caller = await verified_user(strict)
    before = await me(caller)
    body = {"email": caller.email.upper(), "password": ATTACKERS_PASSWORD, "name": "Mallory"}
    assert (await post(strict, "/users", **body)).status_code == 202
    assert await subjects(strict, caller.email) == [VERIFY, SET_PASSWORD]
    assert await me(caller) == before
    assert_problem(await log_in(strict, caller.email, ATTACKERS_PASSWORD), 401, "invalid-credentials")
    await strict.log_in(caller.email)


async def test_an_attacker_who_signs_up_before_the_owner_of_the_address_never_gets_access(strict: Stack) -> None:
    email = fresh_email()
    await sign_up(strict, email, ATTACKERS_PASSWORD)
    await strict.mails(email)
    await sign_up(strict, email, VICTIMS_PASSWORD)
    await strict.mails(email)
    await resend(strict, email)
    # The victim tries every link.
    assert await subjects(strict, email) == [VERIFY, SET_PASSWORD, SET_PASSWORD]
    for link in await tokens(strict, email, VERIFY):
        assert faults_of(await verify(strict, link)) == ["/token"]
    assert_problem(await log_in(strict, email, ATTACKERS_PASSWORD), 401, "invalid-credentials")
    assert (await reset(strict, await newest_token(strict, email, SET_PASSWORD), VICTIMS_PASSWORD)).status_code == 204
    assert_problem(await log_in(strict, email, ATTACKERS_PASSWORD), 401, "invalid-credentials")
    await strict.log_in(email, VICTIMS_PASSWORD)


async def test_an_attacker_who_signs_up_after_the_owner_of_the_address_never_gets_access(strict: Stack) -> None:
    email = fresh_email()
    await sign_up(strict, email, VICTIMS_PASSWORD)
    await strict.mails(email)
    await sign_up(strict, email, ATTACKERS_PASSWORD)
    # The victim tries every link, including those that the attacker caused.
    for link in await tokens(strict, email, VERIFY):
        assert faults_of(await verify(strict, link)) == ["/token"]
    assert (await reset(strict, await newest_token(strict, email, SET_PASSWORD), NEW_PASSWORD)).status_code == 204
    for password in (ATTACKERS_PASSWORD, VICTIMS_PASSWORD):
        assert_problem(await log_in(strict, email, password), 401, "invalid-credentials")
    await strict.log_in(email, NEW_PASSWORD)


async def test_a_link_is_invalidated_even_when_the_hourly_mail_limit_is_reached(strict: Stack) -> None:
    email = fresh_email()
    await sign_up(strict, email, ATTACKERS_PASSWORD)
    await strict.mails(email)
    await asyncio.gather(*[resend(strict, email) for _ in range(12)])
    assert await subjects(strict, email) == [VERIFY] * 10
    await sign_up(strict, email, VICTIMS_PASSWORD)
    for link in await tokens(strict, email, VERIFY):
        assert faults_of(await verify(strict, link)) == ["/token"]
    # The limit does not prevent the victim from setting a password.
    assert (await reset(strict, await newest_token(strict, email, SET_PASSWORD))).status_code == 204
    await strict.log_in(email, NEW_PASSWORD)


async def test_resend_sends_a_new_link_while_the_old_one_is_valid_and_afterwards_a_password_link(strict: Stack) -> None:
    email = fresh_email()
    await sign_up(strict, email)
    await strict.mails(email)
    await resend(strict, email)
    older, newer = await tokens(strict, email, VERIFY)
    assert faults_of(await verify(strict, older)) == ["/token"]
    await strict.execute("UPDATE one_time_tokens SET expires_at = '2020-01-01T00:00:00.000Z'")
    await resend(strict, email)
    assert await subjects(strict, email) == [VERIFY, VERIFY, SET_PASSWORD]
    assert faults_of(await verify(strict, newer)) == ["/token"]
    assert (await reset(strict, await newest_token(strict, email, SET_PASSWORD))).status_code == 204
    await strict.log_in(email, NEW_PASSWORD)


@pytest.mark.parametrize("typed", ["ｍｉｋｅ@example.com", "MIKE@EXAMPLE.COM"])
async def test_a_sign_up_with_an_equivalent_spelling_sends_mail_to_the_stored_address(serve: Serve, typed: str) -> None:
    stack = await serve(SIGNUP="verified")
    caller = await verified_user(stack, "mike@example.com")
    await sign_up(stack, typed, ATTACKERS_PASSWORD)
    assert await subjects(stack, caller.email) == [VERIFY, SET_PASSWORD]
    assert await subjects(stack, typed) == ([] if typed != caller.email else [VERIFY, SET_PASSWORD])
    await sign_up(stack, "mıke@example.com", ATTACKERS_PASSWORD)
    assert await subjects(stack, caller.email) == [VERIFY, SET_PASSWORD]


async def test_unverified_accounts_from_open_sign_up_keep_their_sessions_and_can_log_in_once_verified(
    serve: Serve,
) -> None:
    open_stack = await serve()
    caller = await open_stack.sign_up()
    strict = await serve(SIGNUP="verified")
    assert_problem(await log_in(strict, caller.email), 401, "invalid-credentials")
    here = strict.client(caller.access_token)
    assert (await here.get("/api/v1/users/me")).status_code == 200
    assert (await verify(strict, await newest_token(strict, caller.email, VERIFY))).status_code == 204
    await strict.log_in(caller.email)


@pytest.mark.parametrize("path", ["/email/verify", "/email/stop", "/password/reset"])
@pytest.mark.parametrize(
    "query",
    ["token=x&utm_source=mail", "utm_source=mail&token=x", "token=x&token=y", "token=x&a=%ff", "", "a", "%00=%zz"],
)
async def test_a_page_behind_a_link_passes_over_parameters_that_it_does_not_know(
    client: httpx.AsyncClient, path: str, query: str
) -> None:
    response = await client.get(f"{path}?{query}")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")


async def test_the_first_token_of_a_link_counts(stack: Stack) -> None:
    caller = await stack.sign_up(name="Countess")
    token = await newest_token(stack, caller.email, VERIFY)
    page = await stack.client().get(f"/email/verify?token={token}&utm_source=mail&token=other")
    assert "Countess" in page.text
