"""Responses do not reveal whether an address has an account, neither by their content nor by their timing."""

import contextlib
import random
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from kingpost import main
from kingpost.accounts.registration.service import NewAccount
from kingpost.model import Context
from tests.api.emails import RESET, SET_PASSWORD, VERIFY, forgot, fresh_email, post, subjects, verified_user
from tests.api.stack import PASSWORD, Serve, Stack, assert_problem, faults_of, load

SAMPLES = 200
MIN_RATIO, MAX_RATIO = 0.7, 1.4
"""The limits of the ratio of the medians. A query only for known addresses would cost several times as much:
sending mail takes two transactions, and hashing a password takes a hundred times as long as a response."""

type Send = Callable[[Stack, str], Awaitable[httpx.Response]]


async def resend(stack: Stack, email: str) -> httpx.Response:
    return await post(stack, "/auth/email/resend", email=email)


async def sign_up(stack: Stack, email: str) -> httpx.Response:
    return await post(stack, "/users", email=email, password=PASSWORD, name="Ada")


async def log_in_with_a_wrong_password(stack: Stack, email: str) -> httpx.Response:
    return await post(stack, "/auth/login", email=email, password="a wrong password")


def comparable(response: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Everything in a response except the request id."""
    headers = [(name, value) for name, value in response.headers.multi_items() if name != "x-request-id"]
    return response.status_code, headers, response.content


async def test_responses_are_identical_for_every_kind_of_address(strict: Stack) -> None:
    verified = (await verified_user(strict)).email
    unverified = fresh_email()
    await sign_up(strict, unverified)
    assert await subjects(strict, unverified) == [VERIFY]
    addresses = [fresh_email(), verified, unverified, verified.upper(), unverified]
    responses = [await send(strict, email) for send in (forgot, resend, sign_up) for email in addresses]
    assert responses[0].status_code == 202
    assert responses[0].json().keys() == {"message"}
    assert responses[0].headers["cache-control"] == "no-store"
    for response in responses[1:]:
        assert comparable(response) == comparable(responses[0])


async def test_failed_logins_are_identical_for_every_kind_of_address(strict: Stack) -> None:
    unverified = fresh_email()
    await sign_up(strict, unverified)
    assert await subjects(strict, unverified) == [VERIFY]
    right = await post(strict, "/auth/login", email=unverified, password=PASSWORD)
    problems = [assert_problem(right, 401, "invalid-credentials")]
    for email in (unverified, fresh_email(), (await verified_user(strict)).email):
        problems.append(assert_problem(await log_in_with_a_wrong_password(strict, email), 401, "invalid-credentials"))
    for problem in problems:
        problem.pop("request_id")
    assert problems == [problems[0]] * 4


async def test_invalid_sign_ups_are_reported_for_every_kind_of_address(strict: Stack) -> None:
    known = (await verified_user(strict)).email
    for email in (known, fresh_email()):
        assert faults_of(await post(strict, "/users", email=email, password="short")) == ["/password"]
        too_much = {"x": "x" * 5000}
        response = await post(strict, "/users", email=email, password=PASSWORD, metadata=too_much)
        assert faults_of(response) == ["/metadata"]


# --- no query for the account --------------------------------------------------------------------


@contextlib.asynccontextmanager
async def users_table_hidden(stack: Stack) -> AsyncGenerator[None]:
    """Hide the table of accounts temporarily, so that every query on it fails."""
    await stack.execute("ALTER TABLE users RENAME TO hidden_users")
    try:
        yield
    finally:
        await stack.execute("ALTER TABLE hidden_users RENAME TO users")


async def test_no_request_queries_the_accounts(serve: Serve) -> None:
    stack = await serve(SIGNUP="verified")
    known = (await verified_user(stack)).email
    unknown = {send: fresh_email() for send in (forgot, resend, sign_up)}
    async with users_table_hidden(stack):
        for send, email in unknown.items():
            assert (await send(stack, known)).status_code == 202
            assert (await send(stack, email)).status_code == 202
        client = stack.client()
        client.event_hooks = {}  # The hooks forbid status 500, which is expected below.
        body = {"email": known, "password": PASSWORD}
        assert (await client.post("/api/v1/auth/login", json=body)).status_code == 500
    # The stored jobs run as soon as the table is back.
    assert sorted(await subjects(stack, known)) == sorted([VERIFY, RESET, SET_PASSWORD])
    assert [await subjects(stack, email) for email in unknown.values()] == [[], [], [VERIFY]]


async def test_a_request_stores_one_job_that_looks_the_same_for_every_address(tmp_path: Path) -> None:
    async with main.running(load(tmp_path, SIGNUP="verified"), background=False) as kingpost:
        stack = Stack(kingpost.application, kingpost)
        known, unknown = fresh_email(), fresh_email()
        await kingpost.accounts.registration.create(
            Context(), NewAccount(known, PASSWORD), ("user",), email_verified=True
        )
        for send, kind in ((forgot, "password.forgot"), (resend, "email.resend"), (sign_up, "user.sign-up")):
            for email in (known, unknown):
                await send(stack, email)
            jobs = await stack.execute("SELECT kind, user_id, length(sealed) FROM jobs")
            assert len(jobs) == 2
            assert jobs[0] == jobs[1]
            assert jobs[0][:2] == (kind, None)
            await stack.execute("DELETE FROM jobs")


# --- timing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("send", [forgot, resend, sign_up])
@pytest.mark.slow
async def test_response_times_do_not_reveal_accounts(production: Stack, send: Send) -> None:
    known = [(await verified_user(production)).email for _ in range(3)]
    times: dict[bool, list[float]] = {True: [], False: []}
    # In pairs, each in random order, so that other load on the machine affects both alike.
    for number in range(SAMPLES):
        pair = [(True, known[number % len(known)]), (False, fresh_email())]
        random.shuffle(pair)
        for is_known, email in pair:
            started = time.perf_counter()
            response = await send(production, email)
            times[is_known].append(time.perf_counter() - started)
            assert response.status_code == 202
    ratio = statistics.median(times[True]) / statistics.median(times[False])
    assert MIN_RATIO < ratio < MAX_RATIO
