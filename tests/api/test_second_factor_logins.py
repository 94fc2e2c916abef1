"""Section 4 of the contract: logging in to accounts with a second factor."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from tests.api.emails import NEW_PASSWORD, RESET, VERIFY, forgot, newest_token, reset, verify
from tests.api.enrolling import CONFIRM, OtpClock, begin, disable, enrol, entries_about, log_in, state_of, stopped_clock
from tests.api.stack import ORIGIN, PASSWORD, Caller, Serve, Stack, assert_problem


@pytest.fixture
def otp_clock(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> OtpClock:
    return stopped_clock(stack, monkeypatch)


# --- logging in ----------------------------------------------------------------------------------


async def test_a_login_requires_a_code(stack: Stack, otp_clock: OtpClock) -> None:
    enrolled = await enrol(stack, otp_clock)
    for missing in (None, ""):
        assert_problem(await log_in(stack, enrolled.caller, missing), 401, "mfa-required")
    response = await log_in(stack, enrolled.caller, otp_clock.code(enrolled.secret))
    assert response.status_code == 200
    token = response.json()["access_token"]
    assert (await stack.client(token).get("/api/v1/users/me")).status_code == 200


async def test_a_password_reset_does_not_bypass_the_second_factor(stack: Stack, otp_clock: OtpClock) -> None:
    caller = await stack.sign_up()
    assert (await verify(stack, await newest_token(stack, caller.email, VERIFY), caller)).status_code == 204
    enrolled = await enrol(stack, otp_clock, caller)
    await forgot(stack, enrolled.caller.email)
    response = await reset(stack, await newest_token(stack, enrolled.caller.email, RESET))
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(await log_in(stack, enrolled.caller, password=NEW_PASSWORD), 401, "mfa-required")
    otp = otp_clock.code(enrolled.secret)
    assert (await log_in(stack, enrolled.caller, otp, NEW_PASSWORD)).status_code == 200


async def test_a_wrong_code_gets_the_same_answer_as_a_wrong_password(stack: Stack, otp_clock: OtpClock) -> None:
    enrolled = await enrol(stack, otp_clock)
    otp = otp_clock.code(enrolled.secret)
    answers = []
    for body in (
        {"otp": otp_clock.wrong_code(enrolled.secret)},
        {"otp": otp, "password": "wrong"},
        {"password": "wrong"},
    ):
        response = await log_in(stack, enrolled.caller, **body)
        problem = assert_problem(response, 401, "invalid-credentials")
        headers = {n: v for n, v in response.headers.items() if n not in ("x-request-id", "content-length")}
        answers.append((problem | {"request_id": ""}, headers))
    assert answers == [answers[0]] * 3
    # With a wrong password, the code was not checked and is therefore still unused.
    assert (await log_in(stack, enrolled.caller, otp)).status_code == 200


async def test_a_code_is_ignored_for_an_account_without_a_second_factor(stack: Stack, alice: Caller) -> None:
    for otp in (None, "", "123456"):
        assert (await log_in(stack, alice, otp)).status_code == 200


async def test_a_code_works_once(stack: Stack, otp_clock: OtpClock) -> None:
    caller = await stack.sign_up()
    secret = await begin(caller)
    first = otp_clock.code(secret)
    await caller.http.post(CONFIRM, json={"otp": first})
    # The code that confirmed the second factor is used up, and so are all earlier codes.
    for otp in (first, otp_clock.code(secret, -1)):
        assert_problem(await log_in(stack, caller, otp), 401, "invalid-credentials")
    following = otp_clock.code(secret, 1)
    assert (await log_in(stack, caller, following)).status_code == 200
    assert_problem(await log_in(stack, caller, following), 401, "invalid-credentials")
    otp_clock.advance(1)
    assert_problem(await log_in(stack, caller, following), 401, "invalid-credentials")
    assert (await log_in(stack, caller, otp_clock.code(secret, 1))).status_code == 200


async def test_exactly_one_of_many_concurrent_logins_with_one_code_succeeds(stack: Stack, otp_clock: OtpClock) -> None:
    enrolled = await enrol(stack, otp_clock)
    for otp in (otp_clock.code(enrolled.secret), enrolled.codes[0]):
        responses = await asyncio.gather(*[log_in(stack, enrolled.caller, otp) for _ in range(4)])
        assert sorted(response.status_code for response in responses) == [200, 401, 401, 401]


async def test_each_recovery_code_works_once(stack: Stack, otp_clock: OtpClock) -> None:
    enrolled = await enrol(stack, otp_clock)
    for number, code in enumerate(enrolled.codes):
        typed = (code, code.upper(), code.replace("-", ""), f" {code.replace('-', ' ')} ")[number % 4]
        assert (await log_in(stack, enrolled.caller, typed)).status_code == 200
        assert await state_of(enrolled.caller) == {"enabled": True, "recovery_codes_left": 9 - number}
        assert_problem(await log_in(stack, enrolled.caller, code), 401, "invalid-credentials")
    used = await entries_about(stack, enrolled.caller.id, "second_factor.recovery_code_used")
    assert len(used) == 10
    assert (await log_in(stack, enrolled.caller, otp_clock.code(enrolled.secret))).status_code == 200


async def test_codes_of_another_account_are_refused(stack: Stack, otp_clock: OtpClock) -> None:
    enrolled, other = await enrol(stack, otp_clock), await enrol(stack, otp_clock)
    for otp in (other.codes[0], otp_clock.code(other.secret)):
        assert_problem(await log_in(stack, enrolled.caller, otp), 401, "invalid-credentials")
    assert (await state_of(other.caller))["recovery_codes_left"] == 10
    assert (await log_in(stack, other.caller, otp_clock.code(other.secret))).status_code == 200


async def test_a_secret_copied_to_the_row_of_another_account_does_not_work(
    stack: Stack, otp_clock: OtpClock, caplog: pytest.LogCaptureFixture
) -> None:
    victim, attacker = await enrol(stack, otp_clock), await enrol(stack, otp_clock)
    stolen = f"SELECT sealed FROM second_factors WHERE user_id = '{attacker.caller.id}'"
    await stack.execute(f"UPDATE second_factors SET sealed = ({stolen}) WHERE user_id = '{victim.caller.id}'")
    assert_problem(await log_in(stack, victim.caller, otp_clock.code(attacker.secret)), 401, "invalid-credentials")
    assert victim.caller.id in caplog.text
    # The recovery codes still work.
    assert (await log_in(stack, victim.caller, victim.codes[0])).status_code == 200


# --- wrong codes ---------------------------------------------------------------------------------


async def test_wrong_codes_are_limited_for_each_account(stack: Stack, otp_clock: OtpClock) -> None:
    enrolled, other = await enrol(stack, otp_clock), await enrol(stack, otp_clock)
    for number in range(5):
        # The counter is not reset by the correct password alone, nor by the success of another user.
        assert_problem(await log_in(stack, enrolled.caller), 401, "mfa-required")
        wrong = otp_clock.wrong_code(enrolled.secret) if number % 2 else f"0000{number}-00000"
        assert_problem(await log_in(stack, enrolled.caller, wrong), 401, "invalid-credentials")
    refused = await entries_about(stack, enrolled.caller.id, "session.refused")
    for otp in (otp_clock.wrong_code(enrolled.secret), otp_clock.code(enrolled.secret), enrolled.codes[0]):
        response = await log_in(stack, enrolled.caller, otp)
        assert_problem(response, 429, "rate-limited")
        assert int(response.headers["retry-after"]) >= 1
    # These logins were neither checked nor audited, and used up no code. Sessions and other accounts are not affected.
    assert await entries_about(stack, enrolled.caller.id, "session.refused") == refused
    assert await state_of(enrolled.caller) == {"enabled": True, "recovery_codes_left": 10}
    assert (await log_in(stack, other.caller, otp_clock.code(other.secret))).status_code == 200


async def test_a_login_that_lacks_only_the_code_counts_neither_as_failure_nor_as_success(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = await serve(RATE_LIMIT_LOGIN="2/hour")
    otp_clock = stopped_clock(stack, monkeypatch)
    enrolled = await enrol(stack, otp_clock)

    async def log_in_from_new_address(number: int, password: str = PASSWORD) -> httpx.Response:
        """Log in from a new IP address, so that only the limit of the account applies."""
        app: Any = stack.app
        transport = httpx.ASGITransport(app, client=(f"198.51.100.{number}", 50000))
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            body = {"email": enrolled.caller.email, "password": password}
            return await client.post("/api/v1/auth/login", json=body)

    assert_problem(await log_in_from_new_address(1, "wrong password"), 401, "invalid-credentials")
    for number in range(2, 7):
        assert_problem(await log_in_from_new_address(number), 401, "mfa-required")
    assert_problem(await log_in_from_new_address(7, "wrong password"), 401, "invalid-credentials")
    assert_problem(await log_in_from_new_address(8), 429, "rate-limited")


async def test_wrong_codes_are_limited_on_other_routes_as_well(stack: Stack, otp_clock: OtpClock) -> None:
    enrolled = await enrol(stack, otp_clock)
    for _ in range(5):
        assert_problem(await disable(enrolled.caller, otp_clock.wrong_code(enrolled.secret)), 403, "forbidden")
    assert_problem(await disable(enrolled.caller, otp_clock.code(enrolled.secret)), 429, "rate-limited")
    assert_problem(await log_in(stack, enrolled.caller, otp_clock.code(enrolled.secret)), 429, "rate-limited")
    caller = await stack.sign_up()
    secret = await begin(caller)
    for _ in range(5):
        await caller.http.post(CONFIRM, json={"otp": otp_clock.wrong_code(secret)})
    response = await caller.http.post(CONFIRM, json={"otp": otp_clock.code(secret)})
    assert_problem(response, 429, "rate-limited")


async def test_concurrent_wrong_codes_are_limited_like_sequential_ones(stack: Stack, otp_clock: OtpClock) -> None:
    enrolled = await enrol(stack, otp_clock)
    wrong = otp_clock.wrong_code(enrolled.secret)
    responses = await asyncio.gather(*[log_in(stack, enrolled.caller, wrong) for _ in range(12)])
    statuses = [response.status_code for response in responses]
    assert (statuses.count(401), statuses.count(429)) == (5, 7)


async def test_a_correct_code_resets_the_limit(stack: Stack, otp_clock: OtpClock) -> None:
    enrolled = await enrol(stack, otp_clock)
    for _ in range(3):
        for _ in range(4):
            await log_in(stack, enrolled.caller, otp_clock.wrong_code(enrolled.secret))
        assert (await log_in(stack, enrolled.caller, otp_clock.code(enrolled.secret))).status_code == 200
        otp_clock.advance()


async def test_refused_codes_are_audited(stack: Stack, otp_clock: OtpClock) -> None:
    enrolled = await enrol(stack, otp_clock)
    await log_in(stack, enrolled.caller)
    await log_in(stack, enrolled.caller, otp_clock.wrong_code(enrolled.secret))
    (entry,) = await entries_about(stack, enrolled.caller.id, "session.refused")
    assert msgspec.json.decode(entry.details) == {"reason": "second_factor"}
    assert (entry.actor_type, entry.actor_id) == ("anonymous", None)
