"""A stranger signs up with another person's address: the first proof of the address removes what was set up before."""

from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.api.emails import NEW_PASSWORD, RESET, VERIFY, forgot, fresh_email, newest_token, post, reset, verify
from tests.api.enrolling import Enrolled, OtpClock, enrol, log_in, state_of, stopped_clock
from tests.api.machines import ME, Machine, list_keys, make_key
from tests.api.stack import PASSWORD, Caller, Stack, assert_problem
from tests.timing import assert_within

WITHIN = 1.0
"""Seconds within which every node must know."""


@pytest.fixture
def otp_clock(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> OtpClock:
    return stopped_clock(stack, monkeypatch)


async def set_up(stack: Stack, otp_clock: OtpClock, email: str) -> tuple[list[Caller], Enrolled, Machine]:
    """Sign up with an address, and set up two sessions, a second factor and a key."""
    stranger = await stack.sign_up(email)
    sessions = [stranger, await stack.log_in(email)]
    machine = await make_key(stack, stranger, name="Mine")  # Before the second factor, which asks for a code.
    return sessions, await enrol(stack, otp_clock, stranger), machine


async def assert_nothing_is_left(
    stack: Stack, second_node: Stack, sessions: list[Caller], enrolled: Enrolled, machine: Machine
) -> None:
    credentials = [machine.key, *[session.access_token for session in sessions]]
    for credential in credentials:
        assert_problem(await stack.client(credential).get(ME), 401, "unauthenticated")

    async def is_known_there() -> bool:
        statuses = [(await second_node.client(credential).get(ME)).status_code for credential in credentials]
        return statuses == [401] * len(credentials)

    await assert_within(WITHIN, is_known_there)
    for session in sessions:
        for node in (stack, second_node):
            refreshed = await post(node, "/auth/refresh", refresh_token=session.refresh_token)
            assert_problem(refreshed, 401, "unauthenticated")
    for table in ("api_keys", "second_factors", "recovery_codes", "one_time_tokens"):
        assert not await stack.execute(f"SELECT 1 FROM {table} WHERE user_id = '{enrolled.caller.id}'")


async def test_the_owner_of_the_mailbox_gets_an_account_without_anything_of_the_stranger(
    stack: Stack, second_node: Stack, otp_clock: OtpClock
) -> None:
    email = fresh_email()
    sessions, enrolled, machine = await set_up(stack, otp_clock, email)
    for credential in (machine.key, sessions[0].access_token):
        assert (await second_node.client(credential).get(ME)).status_code == 200
    await forgot(stack, email)
    assert (await reset(stack, await newest_token(stack, email, RESET))).status_code == 204
    await assert_nothing_is_left(stack, second_node, sessions, enrolled, machine)
    for password, otp in ((PASSWORD, None), (PASSWORD, otp_clock.code(enrolled.secret)), (PASSWORD, enrolled.codes[0])):
        response = await log_in(stack, enrolled.caller, otp, password)
        assert_problem(response, 401, "invalid-credentials")
    owner = await stack.log_in(email, NEW_PASSWORD)
    assert owner.id == enrolled.caller.id
    assert owner.grant["user"]["email_verified"] is True
    assert await state_of(owner) == {"enabled": False, "recovery_codes_left": 0}
    assert await list_keys(owner) == []
    # What the owner sets up now stays.
    again = await enrol(stack, otp_clock, owner)
    await forgot(stack, email)
    assert (await reset(stack, await newest_token(stack, email, RESET), "another battery staple")).status_code == 204
    assert_problem(await log_in(stack, again.caller, None, "another battery staple"), 401, "mfa-required")


type Credentials = Callable[[Stack, Caller], Awaitable[httpx.AsyncClient]]


async def without(stack: Stack, caller: Caller) -> httpx.AsyncClient:
    return stack.client()


async def forged(stack: Stack, caller: Caller) -> httpx.AsyncClient:
    return stack.client(caller.access_token[:-8] + "AAAAAAAA")


async def ended(stack: Stack, caller: Caller) -> httpx.AsyncClient:
    session = await stack.client().post("/api/v1/auth/refresh", json={"refresh_token": caller.refresh_token})
    client = stack.client(session.json()["access_token"])
    await client.post("/api/v1/auth/logout")
    return client


async def of_another_account(stack: Stack, caller: Caller) -> httpx.AsyncClient:
    return (await stack.sign_up()).http


async def basic(stack: Stack, caller: Caller) -> httpx.AsyncClient:
    return stack.client(Authorization="Basic YWRhOmFkYQ==")


STRANGERS = {"none": without, "forged": forged, "ended": ended, "another account": of_another_account, "basic": basic}


@pytest.mark.parametrize("credentials", STRANGERS)
async def test_a_link_used_without_a_session_of_the_account_removes_everything(
    stack: Stack, second_node: Stack, otp_clock: OtpClock, credentials: str
) -> None:
    email = fresh_email()
    sessions, enrolled, machine = await set_up(stack, otp_clock, email)
    token = await newest_token(stack, email, VERIFY)
    client = await STRANGERS[credentials](stack, sessions[1])
    response = await client.post("/api/v1/auth/email/verify", json={"token": token})
    assert (response.status_code, response.content) == (204, b"")
    await assert_nothing_is_left(stack, second_node, sessions, enrolled, machine)
    assert (await stack.log_in(email)).grant["user"]["email_verified"] is True


async def test_an_api_key_spares_nothing(stack: Stack, second_node: Stack, otp_clock: OtpClock) -> None:
    email = fresh_email()
    sessions, enrolled, machine = await set_up(stack, otp_clock, email)
    token = await newest_token(stack, email, VERIFY)
    response = await machine.http.post("/api/v1/auth/email/verify", json={"token": token})
    assert response.status_code == 204
    await assert_nothing_is_left(stack, second_node, sessions, enrolled, machine)


async def test_a_link_used_in_the_app_with_the_access_token_spares_everything(
    stack: Stack, otp_clock: OtpClock
) -> None:
    email = fresh_email()
    sessions, enrolled, machine = await set_up(stack, otp_clock, email)
    assert (await verify(stack, await newest_token(stack, email, VERIFY), sessions[1])).status_code == 204
    for client in (machine.http, *[session.http for session in sessions]):
        assert (await client.get(ME)).json()["email_verified"] is True
    assert (await state_of(sessions[0]))["enabled"] is True
    assert (await log_in(stack, enrolled.caller, otp_clock.code(enrolled.secret))).status_code == 200


async def test_a_link_that_is_refused_removes_nothing(stack: Stack, otp_clock: OtpClock) -> None:
    email = fresh_email()
    sessions, _, machine = await set_up(stack, otp_clock, email)
    assert (await verify(stack, "unknown")).status_code == 400
    assert (await reset(stack, "unknown")).status_code == 400
    for client in (machine.http, *[session.http for session in sessions]):
        assert (await client.get(ME)).status_code == 200
    assert (await state_of(sessions[0]))["enabled"] is True


async def test_an_address_that_was_changed_to_a_strangers_is_proved_anew(
    stack: Stack, second_node: Stack, otp_clock: OtpClock
) -> None:
    mallory, victim = await stack.sign_up(), fresh_email()
    await verify(stack, await newest_token(stack, mallory.email, VERIFY), mallory)
    machine = await make_key(stack, mallory)
    enrolled = await enrol(stack, otp_clock, mallory)
    body = {"email": victim, "current_password": PASSWORD, "otp": enrolled.codes[0]}
    changed = await mallory.http.patch(f"/api/v1/users/{mallory.id}", json=body)
    assert (changed.json()["email"], changed.json()["email_verified"]) == (victim, False)
    await forgot(stack, victim)
    assert (await reset(stack, await newest_token(stack, victim, RESET))).status_code == 204
    await assert_nothing_is_left(stack, second_node, [mallory], enrolled, machine)
    assert (await stack.log_in(victim, NEW_PASSWORD)).id == mallory.id
