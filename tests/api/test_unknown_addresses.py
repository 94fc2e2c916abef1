"""Nobody learns which addresses have accounts: not by an answer, and not by its time."""

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
FASTER, SLOWER = 0.7, 1.4
"""Between which the medians' ratio must be. A look-up that only known addresses caused would cost several times that:
sending costs two transactions, and a hash of a password a hundred times an answer."""

type Ask = Callable[[Stack, str], Awaitable[httpx.Response]]


async def resend(stack: Stack, email: str) -> httpx.Response:
    return await post(stack, "/auth/email/resend", email=email)


async def sign_up(stack: Stack, email: str) -> httpx.Response:
    return await post(stack, "/users", email=email, password=PASSWORD, name="Ada")


async def log_in_wrongly(stack: Stack, email: str) -> httpx.Response:
    return await post(stack, "/auth/login", email=email, password="a wrong password")


def all_of(response: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """A response but for the request's id."""
    headers = [(name, value) for name, value in response.headers.multi_items() if name != "x-request-id"]
    return response.status_code, headers, response.content


async def test_every_answer_about_an_address_is_the_same_one(strict: Stack) -> None:
    verified = (await verified_user(strict)).email
    unverified = fresh_email()
    await sign_up(strict, unverified)
    assert await subjects(strict, unverified) == [VERIFY]
    addresses = [fresh_email(), verified, unverified, verified.upper(), unverified]
    answers = [await ask(strict, email) for ask in (forgot, resend, sign_up) for email in addresses]
    assert answers[0].status_code == 202
    assert answers[0].json().keys() == {"message"}
    assert answers[0].headers["cache-control"] == "no-store"
    for answer in answers[1:]:
        assert all_of(answer) == all_of(answers[0])


async def test_a_login_does_not_tell_either(strict: Stack) -> None:
    unverified = fresh_email()
    await sign_up(strict, unverified)
    assert await subjects(strict, unverified) == [VERIFY]
    right = await post(strict, "/auth/login", email=unverified, password=PASSWORD)
    problems = [assert_problem(right, 401, "invalid-credentials")]
    for email in (unverified, fresh_email(), (await verified_user(strict)).email):
        problems.append(assert_problem(await log_in_wrongly(strict, email), 401, "invalid-credentials"))
    for problem in problems:
        problem.pop("request_id")
    assert problems == [problems[0]] * 4


async def test_what_is_wrong_with_a_sign_up_is_told_for_every_address(strict: Stack) -> None:
    known = (await verified_user(strict)).email
    for email in (known, fresh_email()):
        assert faults_of(await post(strict, "/users", email=email, password="short")) == ["/password"]
        too_much = {"x": "x" * 5000}
        response = await post(strict, "/users", email=email, password=PASSWORD, metadata=too_much)
        assert faults_of(response) == ["/metadata"]


# --- by construction -----------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def no_accounts_to_look_at(stack: Stack) -> AsyncGenerator[None]:
    """Take the table of accounts away for a while: whatever asks it fails."""
    await stack.execute("ALTER TABLE users RENAME TO hidden_users")
    try:
        yield
    finally:
        await stack.execute("ALTER TABLE hidden_users RENAME TO users")


async def test_no_request_looks_for_an_account(serve: Serve) -> None:
    stack = await serve(SIGNUP="verified")
    known, unknown = (await verified_user(stack)).email, fresh_email()
    async with no_accounts_to_look_at(stack):
        for ask in (forgot, resend, sign_up):
            for email in (known, unknown):
                assert (await ask(stack, email)).status_code == 202
        client = stack.client()
        client.event_hooks = {}  # They refuse a status of 500, which shows here that a look would be noticed.
        body = {"email": known, "password": PASSWORD}
        assert (await client.post("/api/v1/auth/login", json=body)).status_code == 500
    # What was stored is done as soon as it can be.
    assert sorted(await subjects(stack, known)) == sorted([VERIFY, RESET, SET_PASSWORD])
    assert (await subjects(stack, unknown)).count(VERIFY) == 1


async def test_a_request_stores_one_job_that_tells_nothing_from_outside(tmp_path: Path) -> None:
    async with main.running(load(tmp_path, SIGNUP="verified"), background=False) as kingpost:
        stack = Stack(kingpost.application, kingpost)
        known, unknown = fresh_email(), fresh_email()
        await kingpost.accounts.registration.create(
            Context(), NewAccount(known, PASSWORD), ("user",), email_verified=True
        )
        for ask, kind in ((forgot, "password.forgot"), (resend, "email.resend"), (sign_up, "user.sign-up")):
            for email in (known, unknown):
                await ask(stack, email)
            jobs = await stack.execute("SELECT kind, user_id, length(sealed) FROM jobs")
            assert len(jobs) == 2
            assert jobs[0] == jobs[1]
            assert jobs[0][:2] == (kind, None)
            await stack.execute("DELETE FROM jobs")


# --- by the clock --------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [forgot, resend, sign_up])
@pytest.mark.slow
async def test_the_time_of_an_answer_does_not_tell(production: Stack, ask: Ask) -> None:
    known = [(await verified_user(production)).email for _ in range(3)]
    times: dict[bool, list[float]] = {True: [], False: []}
    # In pairs, each in a random order: what else the machine does meets both alike.
    for number in range(SAMPLES):
        pair = [(True, known[number % len(known)]), (False, fresh_email())]
        random.shuffle(pair)
        for is_known, email in pair:
            started = time.perf_counter()
            response = await ask(production, email)
            times[is_known].append(time.perf_counter() - started)
            assert response.status_code == 202
    ratio = statistics.median(times[True]) / statistics.median(times[False])
    assert FASTER < ratio < SLOWER
