"""Section 4 of the contract: a forgotten password."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.api import stack as stacks
from tests.api.emails import (
    CHANGED,
    NEW_PASSWORD,
    RESET,
    VERIFY,
    forgot,
    fresh_email,
    log_in,
    newest_token,
    post,
    reset,
    subjects,
    tokens,
    verify,
)
from tests.api.stack import PASSWORD, Serve, Stack, assert_problem, faults_of
from tests.timing import assert_within

PROPAGATION_LIMIT = 1.0
"""Seconds within which every node must know that a session has ended."""


# --- requesting a link ---------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{}, {"email": 5}, {"email": ""}, {"email": "nonsense"}, {"email": "x" * 255}])
async def test_an_email_address_is_required(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    for path in ("email/resend", "password/forgot"):
        assert faults_of(await client.post(f"/api/v1/auth/{path}", json=body)) == ["/email"]


async def test_an_unknown_address_gets_no_mail(stack: Stack) -> None:
    email = fresh_email()
    await forgot(stack, email)
    assert await stack.mails(email) == []


async def test_two_concurrent_requests_get_the_same_answer_and_one_of_the_links_works(stack: Stack) -> None:
    caller = await stack.sign_up()
    responses = await asyncio.gather(forgot(stack, caller.email), forgot(stack, caller.email))
    assert [response.status_code for response in responses] == [202, 202]
    links = await tokens(stack, caller.email, RESET)
    assert len(links) == 2
    assert sorted([(await reset(stack, link)).status_code for link in links]) == [204, 400]


async def test_anonymous_requests_cause_at_most_ten_mails_an_hour_per_account_and_purpose(stack: Stack) -> None:
    caller = await stack.sign_up()
    for _ in range(12):
        await asyncio.gather(forgot(stack, caller.email), post(stack, "/auth/email/resend", email=caller.email))
    # The mail of the sign-up counts as well, because anybody can sign up with any address.
    assert Counter(await subjects(stack, caller.email)) == {VERIFY: 10, RESET: 10}
    # The links were created concurrently, so any of them may be the newest.
    statuses = [(await reset(stack, link)).status_code for link in await tokens(stack, caller.email, RESET)]
    assert sorted(statuses) == [204] + 9 * [400]
    await stack.log_in(caller.email, NEW_PASSWORD)


# --- setting a new password ----------------------------------------------------------------------


async def test_a_link_in_mail_sets_a_new_password(stack: Stack) -> None:
    caller = await stack.sign_up()
    await forgot(stack, caller.email)
    response = await reset(stack, await newest_token(stack, caller.email, RESET))
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(await log_in(stack, caller.email), 401, "invalid-credentials")
    again = await stack.log_in(caller.email, NEW_PASSWORD)
    # The link came by mail, so the address is now verified as well.
    assert again.grant["user"]["email_verified"] is True
    assert (await subjects(stack, caller.email))[-1] == CHANGED


async def test_a_reset_ends_every_session_on_every_node(stack: Stack, second_node: Stack) -> None:
    callers = [await stack.sign_up()]
    callers.append(await stack.log_in(callers[0].email))
    other_node = second_node.client(callers[0].access_token)
    assert (await other_node.get("/api/v1/users/me")).status_code == 200
    await forgot(stack, callers[0].email)
    assert (await reset(stack, await newest_token(stack, callers[0].email, RESET))).status_code == 204
    for caller in callers:
        assert_problem(await caller.http.get("/api/v1/users/me"), 401, "unauthenticated")
        assert_problem(await post(stack, "/auth/refresh", refresh_token=caller.refresh_token), 401, "unauthenticated")

    async def has_ended() -> bool:
        return (await other_node.get("/api/v1/users/me")).status_code == 401

    await assert_within(PROPAGATION_LIMIT, has_ended)


async def test_exactly_one_of_many_concurrent_uses_of_a_link_succeeds_across_nodes(
    stack: Stack, second_node: Stack
) -> None:
    caller = await stack.sign_up()
    await forgot(stack, caller.email)
    token = await newest_token(stack, caller.email, RESET)
    passwords = [f"{NEW_PASSWORD} {number}" for number in range(8)]
    nodes = [stack, second_node] * 4
    responses = await asyncio.gather(
        *[reset(node, token, password) for node, password in zip(nodes, passwords, strict=True)]
    )
    assert sorted(response.status_code for response in responses) == [204] + 7 * [400]
    for password, response in zip(passwords, responses, strict=True):
        expected = 200 if response.status_code == 204 else 401
        assert (await log_in(stack, caller.email, password)).status_code == expected


async def test_a_new_link_invalidates_the_older_link(stack: Stack) -> None:
    caller = await stack.sign_up()
    for _ in range(2):
        await forgot(stack, caller.email)
        await stack.mails(caller.email)
    older, newer = await tokens(stack, caller.email, RESET)
    assert faults_of(await reset(stack, older)) == ["/token"]
    assert (await reset(stack, newer)).status_code == 204


async def test_an_expired_link_is_refused(stack: Stack) -> None:
    caller = await stack.sign_up()
    await forgot(stack, caller.email)
    token = await newest_token(stack, caller.email, RESET)
    own = f"user_id = '{caller.id}' AND purpose = 'reset-password'"
    await stack.execute(f"UPDATE one_time_tokens SET expires_at = '2020-01-01T00:00:00.000Z' WHERE {own}")
    assert faults_of(await reset(stack, token)) == ["/token"]
    await stack.log_in(caller.email)


@pytest.mark.parametrize("password", ["short", "password", "x" * 257])
async def test_a_refused_password_does_not_use_up_the_link(stack: Stack, password: str) -> None:
    caller = await stack.sign_up()
    await forgot(stack, caller.email)
    token = await newest_token(stack, caller.email, RESET)
    with_own_name = f"i am {caller.email.partition('@')[0]}"
    for refused in (password, with_own_name):
        assert faults_of(await reset(stack, token, refused)) == ["/new_password"]
    assert (await caller.http.get("/api/v1/users/me")).status_code == 200
    assert (await reset(stack, token)).status_code == 204


async def test_an_invalid_link_and_a_weak_password_are_reported_together(stack: Stack) -> None:
    response = await reset(stack, "unknown", "short")
    assert faults_of(response) == ["/new_password", "/token"]
    codes = {fault["pointer"]: fault["code"] for fault in response.json()["errors"]}
    assert codes == {"/new_password": "too_short", "/token": "token"}
    assert faults_of(await post(stack, "/auth/password/reset", token=5, new_password="short")) == [
        "/new_password",
        "/token",
    ]


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "ü" * 20, "' OR 1 = 1 --", "\t\n", "=" * 256])
async def test_made_up_tokens_are_refused(stack: Stack, token: str) -> None:
    assert faults_of(await reset(stack, token)) == ["/token"]
    assert faults_of(await verify(stack, token)) == ["/token"]


async def test_a_verification_link_sets_no_password_and_a_reset_link_verifies_no_address(stack: Stack) -> None:
    caller = await stack.sign_up()
    await forgot(stack, caller.email)
    verification, recovery = (
        await newest_token(stack, caller.email, VERIFY),
        await newest_token(stack, caller.email, RESET),
    )
    assert faults_of(await reset(stack, verification)) == ["/token"]
    assert faults_of(await verify(stack, recovery)) == ["/token"]
    assert (await caller.http.get("/api/v1/users/me")).json()["email_verified"] is False
    assert (await verify(stack, verification)).status_code == 204
    assert (await reset(stack, recovery)).status_code == 204


async def test_a_reset_does_not_reactivate_a_suspended_account(stack: Stack, admin: stacks.Caller) -> None:
    caller = await stack.sign_up()
    await admin.http.patch(f"/api/v1/users/{caller.id}", json={"status": "suspended"})
    await forgot(stack, caller.email)
    assert (await reset(stack, await newest_token(stack, caller.email, RESET))).status_code == 204
    assert_problem(await log_in(stack, caller.email, NEW_PASSWORD), 401, "invalid-credentials")


async def test_links_are_deleted_with_their_account(stack: Stack) -> None:
    caller = await stack.sign_up()
    await forgot(stack, caller.email)
    token = await newest_token(stack, caller.email, RESET)
    assert (await caller.http.delete(f"/api/v1/users/{caller.id}")).status_code == 204
    assert faults_of(await reset(stack, token)) == ["/token"]
    again = await stack.sign_up(caller.email)
    assert faults_of(await reset(stack, token)) == ["/token"]
    assert (await again.http.get("/api/v1/users/me")).status_code == 200


async def test_a_reset_lifts_the_rate_limit_of_the_account(serve: Serve) -> None:
    stack = await serve(RATE_LIMIT_LOGIN="3/hour")
    caller = await stack.sign_up()
    client = stack.client(address="203.0.113.9")

    async def guess(password: str) -> int:
        body = {"email": caller.email, "password": password}
        return (await client.post("/api/v1/auth/login", json=body)).status_code

    assert [await guess("wrong password") for _ in range(4)] == [401, 401, 401, 429]
    other = stack.client(address="198.51.100.77")
    body = {"email": caller.email, "password": NEW_PASSWORD}
    assert (await other.post("/api/v1/auth/login", json=body)).status_code == 429
    await forgot(stack, caller.email)
    assert (await reset(stack, await newest_token(stack, caller.email, RESET))).status_code == 204
    assert (await other.post("/api/v1/auth/login", json=body)).status_code == 200


# --- changing the password while logged in -------------------------------------------------------


async def test_a_password_change_is_notified_by_mail_and_invalidates_reset_links(stack: Stack) -> None:
    caller = await stack.sign_up()
    await forgot(stack, caller.email)
    token = await newest_token(stack, caller.email, RESET)
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert (await caller.http.put(f"/api/v1/users/{caller.id}/password", json=body)).status_code == 204
    assert (await subjects(stack, caller.email))[-1] == CHANGED
    assert faults_of(await reset(stack, token, "yet another password")) == ["/token"]
    await stack.log_in(caller.email, NEW_PASSWORD)


# --- equivalent and similar addresses ------------------------------------------------------------


@pytest.mark.parametrize(
    "typed",
    ["MIKE@EXAMPLE.COM", "ｍｉｋｅ@example.com", "ｍike@ｅｘａｍｐｌｅ.com", "Mike@Example.Com", "ℳike@example.com"],
)
async def test_mail_is_sent_to_the_stored_address_for_every_equivalent_spelling(serve: Serve, typed: str) -> None:
    stack = await serve()
    caller = await stack.sign_up("mike@example.com")
    await forgot(stack, typed)
    assert await subjects(stack, caller.email) == [VERIFY, RESET]
    outbox = Path(stack.kingpost.settings.mail_url.removeprefix("file:"))
    assert len(list(outbox.glob("*.eml"))) == 2


@pytest.mark.parametrize("typed", ["mıke@example.com", "mіke@example.com", "mike@examp1e.com", "mike+x@example.com"])
async def test_addresses_that_only_look_similar_are_different_addresses(serve: Serve, typed: str) -> None:
    stack = await serve()
    caller = await stack.sign_up("mike@example.com")
    await forgot(stack, typed)
    assert await subjects(stack, caller.email) == [VERIFY]
    other = await stack.sign_up(typed)
    assert other.id != caller.id
    assert await subjects(stack, caller.email) == [VERIFY]


async def test_a_domain_in_unicode_and_in_punycode_is_the_same_domain(serve: Serve) -> None:
    stack = await serve()
    await stack.sign_up("mike@bücher.example")
    await forgot(stack, "mike@xn--bcher-kva.example")
    await forgot(stack, "mike@BÜCHER.example")
    assert await subjects(stack, "mike@xn--bcher-kva.example") == [VERIFY, RESET, RESET]


# --- what is stored ------------------------------------------------------------------------------


async def test_the_audit_log_records_requests_and_resets_without_email_addresses(stack: Stack) -> None:
    caller = await stack.sign_up()
    await forgot(stack, caller.email)
    token = await newest_token(stack, caller.email, RESET)
    await reset(stack, token)
    rows = await stack.execute(
        "SELECT action, actor_type, address, CAST(details AS text) FROM audit "
        f"WHERE target_id = '{caller.id}' AND action LIKE 'user.%' ORDER BY id"
    )
    assert [(row[0], row[1], row[2]) for row in rows] == [
        ("user.created", "anonymous", stacks.ADDRESS),
        ("user.reset_requested", "anonymous", stacks.ADDRESS),
        ("user.password_reset", "anonymous", stacks.ADDRESS),
        ("user.setup_removed", "anonymous", stacks.ADDRESS),
    ]
    assert "reset-password" in rows[1][3]
    for row in rows:
        assert caller.email not in row[3]
        assert token not in row[3]


async def test_tokens_and_queued_addresses_are_not_stored_in_plain_text(serve: Serve, tmp_path: Path) -> None:
    stack = await serve()
    caller = await stack.sign_up()
    unknown = fresh_email()
    await asyncio.gather(forgot(stack, caller.email), forgot(stack, unknown))
    token = await newest_token(stack, caller.email, RESET)
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("kingpost.db*"))
    assert caller.email.encode() in stored
    for secret in (token, unknown):
        assert secret.encode() not in stored
