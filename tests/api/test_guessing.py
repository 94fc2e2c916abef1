"""Password guessing is slowed down, without locking out other users."""

import asyncio
import secrets
from functools import partial
from typing import Any

import httpx
import pytest
import pytest_asyncio

from kingpost import main
from kingpost.auth.throttling.counters import FORGOTTEN_AFTER
from kingpost.auth.throttling.memory import MemoryCounters
from tests.api.enrolling import Enrolled, OtpClock, enrol
from tests.api.stack import PASSWORD, Caller, Serve, Stack, assert_problem

USUAL_ADDRESS, OTHER_ADDRESS = "198.51.100.1", "203.0.113.9"


class Clock:
    """A clock that tests move by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the rate limits in the stacks that the test starts."""
    clock = Clock()
    monkeypatch.setattr(main, "MemoryCounters", partial(MemoryCounters, now=clock))
    return clock


@pytest_asyncio.fixture(loop_scope="session")
async def limited(serve: Serve, clock: Clock) -> Stack:
    """An application with the default rate limit."""
    return await serve(RATE_LIMIT_LOGIN="10/minute")


@pytest_asyncio.fixture(loop_scope="session")
async def owner(limited: Stack) -> Caller:
    """A user who has logged in from the IP address that all tests share."""
    return await limited.sign_up()


async def log_in(stack: Stack, email: str, password: str = PASSWORD, address: str = OTHER_ADDRESS) -> httpx.Response:
    body = {"email": email, "password": password}
    return await stack.client(address=address).post("/api/v1/auth/login", json=body)


async def guess(stack: Stack, email: str, times: int = 1, address: str = OTHER_ADDRESS) -> list[httpx.Response]:
    """Send logins with wrong passwords, one after the other."""
    return [await log_in(stack, email, f"wrong {secrets.token_hex(4)}", address) for _ in range(times)]


def statuses(responses: list[httpx.Response]) -> list[int]:
    return [response.status_code for response in responses]


def delay(response: httpx.Response) -> int:
    """The seconds to wait that a rate-limited response states."""
    assert_problem(response, 429, "rate-limited")
    return int(response.headers["retry-after"])


def new_address() -> str:
    """An IP address that was not used before."""
    return f"2001:db8:{secrets.randbits(16):x}:{secrets.randbits(16):x}::1"


# --- the limit --------------------------------------------------------------------------------------


async def test_ten_failed_logins_are_not_delayed_and_the_eleventh_is(limited: Stack, owner: Caller) -> None:
    for response in await guess(limited, owner.email, 10):
        assert_problem(response, 401, "invalid-credentials")
    (response,) = await guess(limited, owner.email)
    assert delay(response) == 6


async def test_the_correct_password_is_delayed_as_well(limited: Stack, owner: Caller, clock: Clock) -> None:
    await guess(limited, owner.email, 10)
    assert delay(await log_in(limited, owner.email)) == 6
    clock.now += 6
    assert (await log_in(limited, owner.email)).status_code == 200


async def test_each_failure_doubles_the_delay_up_to_fifteen_minutes(
    limited: Stack, owner: Caller, clock: Clock
) -> None:
    await guess(limited, owner.email, 10)
    delays = []
    for _ in range(12):
        (refused,) = await guess(limited, owner.email)
        delays.append(delay(refused))
        clock.now += delays[-1]
        (response,) = await guess(limited, owner.email)
        assert_problem(response, 401, "invalid-credentials")
    assert delays == [6, 12, 24, 48, 96, 192, 384, 768, 900, 900, 900, 900]
    clock.now += 900
    assert (await log_in(limited, owner.email)).status_code == 200


async def test_guesses_during_the_delay_are_neither_checked_nor_counted(
    limited: Stack, owner: Caller, clock: Clock
) -> None:
    await guess(limited, owner.email, 10)
    assert {delay(response) for response in await guess(limited, owner.email, 50)} == {6}
    clock.now += 6
    assert statuses(await guess(limited, owner.email)) == [401]
    assert delay(await log_in(limited, owner.email)) == 12


async def test_failures_are_forgotten_after_an_hour_without_attempts(
    limited: Stack, owner: Caller, clock: Clock
) -> None:
    await guess(limited, owner.email, 10)
    clock.now += FORGOTTEN_AFTER
    assert statuses(await guess(limited, owner.email, 11)) == [401] * 10 + [429]


async def test_a_successful_login_resets_the_failures_of_its_account(limited: Stack, owner: Caller) -> None:
    for _ in range(5):
        for _ in range(9):
            assert statuses(await guess(limited, owner.email, address=new_address())) == [401]
        assert (await log_in(limited, owner.email, address=new_address())).status_code == 200


async def test_failed_logins_are_never_delayed_when_the_limit_is_off(serve: Serve) -> None:
    unlimited = await serve(RATE_LIMIT_LOGIN="off")
    assert statuses(await guess(unlimited, "nobody@example.com", 15)) == [401] * 15


# --- what is counted --------------------------------------------------------------------------------


async def test_an_account_is_limited_across_ip_addresses(limited: Stack, owner: Caller) -> None:
    for _ in range(10):
        assert statuses(await guess(limited, owner.email, address=new_address())) == [401]
    assert statuses(await guess(limited, owner.email, address=new_address())) == [429]


async def test_all_spellings_of_an_email_address_share_one_counter(limited: Stack, owner: Caller) -> None:
    for spelling in [owner.email, owner.email.upper(), owner.email.title()] * 3:
        assert statuses(await guess(limited, spelling, address=new_address())) == [401]
    assert statuses(await guess(limited, owner.email, 2, address=new_address())) == [401, 429]


async def test_an_ip_address_is_limited_across_accounts(limited: Stack, owner: Caller) -> None:
    for n in range(10):
        assert statuses(await guess(limited, f"account-{n}@example.com")) == [401]
    assert statuses(await guess(limited, owner.email)) == [429]
    assert delay(await log_in(limited, owner.email)) == 6


async def test_logins_to_the_own_account_of_an_attacker_do_not_reset_the_limit(limited: Stack, owner: Caller) -> None:
    own = await limited.sign_up()
    wrong = 0
    for _ in range(30):
        await log_in(limited, own.email)
        (response,) = await guess(limited, f"{secrets.token_hex(4)}@example.com")
        wrong += response.status_code == 401
    assert wrong == 10


async def test_ipv6_clients_are_counted_by_network(limited: Stack, owner: Caller) -> None:
    for n in range(10):
        address = f"2001:db8:1:2::{n:x}"
        assert statuses(await guess(limited, f"{n}@example.com", address=address)) == [401]
    assert statuses(await guess(limited, "a@example.com", address="2001:db8:1:2:ffff::1")) == [429]
    assert statuses(await guess(limited, "a@example.com", address="2001:db8:1:3::1")) == [401]


async def test_an_ipv4_client_has_the_same_counter_on_an_ipv6_socket(limited: Stack) -> None:
    for n in range(10):
        await guess(limited, f"{n}@example.com", address=f"::ffff:{OTHER_ADDRESS}")
    assert statuses(await guess(limited, "a@example.com", address=OTHER_ADDRESS)) == [429]


async def test_responses_are_the_same_for_known_and_unknown_accounts(
    limited: Stack, owner: Caller, clock: Clock
) -> None:
    seen: list[list[Any]] = []
    responses: list[httpx.Response] = []
    for email in (owner.email, "nobody@example.com", "no address"):
        address = new_address()
        responses = await guess(limited, email, 12, address)
        clock.now += 6
        responses += await guess(limited, email, 2, address)
        seen.append([_without_request(response) for response in responses])
    assert statuses(responses) == [401] * 10 + [429] * 2 + [401, 429]
    assert seen[0] == seen[1] == seen[2]


def _without_request(response: httpx.Response) -> tuple[int, dict[str, str], dict[str, Any]]:
    headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
    return response.status_code, headers, response.json() | {"request_id": ""}


# --- concurrent logins ------------------------------------------------------------------------------


async def test_only_ten_of_a_hundred_concurrent_guesses_are_checked(limited: Stack, owner: Caller) -> None:
    responses = await asyncio.gather(*[guess(limited, owner.email) for _ in range(100)])
    found = [response.status_code for (response,) in responses]
    assert (found.count(401), found.count(429)) == (10, 90)


async def test_only_ten_of_a_hundred_concurrent_guesses_from_different_addresses_are_checked(
    limited: Stack, owner: Caller
) -> None:
    responses = await asyncio.gather(*[guess(limited, owner.email, address=new_address()) for _ in range(100)])
    found = [response.status_code for (response,) in responses]
    assert (found.count(401), found.count(429)) == (10, 90)


async def test_many_concurrent_successful_logins_from_one_ip_address_all_succeed(limited: Stack, owner: Caller) -> None:
    colleague = await limited.sign_up()
    emails = [owner.email, colleague.email] * 20
    responses = await asyncio.gather(*[log_in(limited, email, address=USUAL_ADDRESS) for email in emails])
    assert {response.status_code for response in responses} == {200}


# --- other users are not locked out -----------------------------------------------------------------


async def test_guesses_from_other_addresses_do_not_delay_the_owner_at_the_usual_address(
    limited: Stack, owner: Caller
) -> None:
    assert (await log_in(limited, owner.email, address=USUAL_ADDRESS)).status_code == 200
    await guess(limited, owner.email, 30)
    assert (await log_in(limited, owner.email, address=USUAL_ADDRESS)).status_code == 200
    assert statuses(await guess(limited, owner.email, 3, address=USUAL_ADDRESS)) == [401] * 3
    assert (await log_in(limited, owner.email, address=USUAL_ADDRESS)).status_code == 200
    # And the owner's logins do not reset the limit for guesses from other addresses.
    assert statuses(await guess(limited, owner.email, address=new_address())) == [429]


async def test_the_usual_address_is_limited_too(limited: Stack, owner: Caller) -> None:
    assert (await log_in(limited, owner.email, address=USUAL_ADDRESS)).status_code == 200
    assert statuses(await guess(limited, owner.email, 11, address=USUAL_ADDRESS)) == [401] * 10 + [429]


async def test_an_address_stays_usual_for_thirty_days(limited: Stack, owner: Caller, clock: Clock) -> None:
    assert (await log_in(limited, owner.email, address=USUAL_ADDRESS)).status_code == 200
    for days, status in ((29.9, 200), (29.9, 200), (30.1, 429)):
        clock.now += days * 24 * 3600
        await guess(limited, owner.email, 10, address=new_address())
        assert (await log_in(limited, owner.email, address=USUAL_ADDRESS)).status_code == status


async def test_other_accounts_at_other_addresses_are_not_affected(limited: Stack, owner: Caller) -> None:
    other = await limited.sign_up()
    await guess(limited, owner.email, 20)
    assert (await log_in(limited, other.email, address=new_address())).status_code == 200


async def test_existing_sessions_are_not_affected_by_guesses(limited: Stack, owner: Caller) -> None:
    for _ in range(10):
        await guess(limited, owner.email, address=new_address())
    assert statuses(await guess(limited, owner.email, address=new_address())) == [429]
    http = limited.client(owner.access_token, address=new_address())
    assert (await http.get("/api/v1/users/me")).status_code == 200
    body = {"refresh_token": owner.refresh_token}
    assert (await http.post("/api/v1/auth/refresh", json=body)).status_code == 200
    passwords = {"current_password": PASSWORD, "new_password": "another horse battery"}
    assert (await http.put(f"/api/v1/users/{owner.id}/password", json=passwords)).status_code == 204


# --- codes of a second factor -----------------------------------------------------------------------


@pytest.fixture
def otp_clock(limited: Stack, monkeypatch: pytest.MonkeyPatch) -> OtpClock:
    otp_clock = OtpClock()
    monkeypatch.setattr(limited.kingpost.auth.codes, "_seconds", lambda: otp_clock.seconds)
    return otp_clock


async def send_code(stack: Stack, enrolled: Enrolled, otp: str, address: str) -> httpx.Response:
    body = {"email": enrolled.caller.email, "password": PASSWORD, "otp": otp}
    return await stack.client(address=address).post("/api/v1/auth/login", json=body)


async def test_a_stranger_who_knows_the_password_does_not_hold_up_the_owner_at_the_usual_address(
    limited: Stack, otp_clock: OtpClock
) -> None:
    enrolled = await enrol(limited, otp_clock)
    wrong = otp_clock.wrong_code(enrolled.secret)
    assert (await send_code(limited, enrolled, enrolled.codes[0], USUAL_ADDRESS)).status_code == 200
    found = statuses([await send_code(limited, enrolled, wrong, new_address()) for _ in range(20)])
    assert found == [401] * 5 + [429] * 15
    assert delay(await send_code(limited, enrolled, otp_clock.code(enrolled.secret), new_address())) == 6
    for otp in (otp_clock.code(enrolled.secret), enrolled.codes[1], enrolled.codes[2]):
        assert (await send_code(limited, enrolled, otp, USUAL_ADDRESS)).status_code == 200
    # At the usual address, too, codes cannot be guessed at will.
    found = statuses([await send_code(limited, enrolled, wrong, USUAL_ADDRESS) for _ in range(7)])
    assert found == [401] * 5 + [429] * 2


async def test_codes_are_limited_for_a_network_across_accounts(limited: Stack, otp_clock: OtpClock) -> None:
    # The limit of passwords would be reached first: all failures count there, too.
    accounts = [await enrol(limited, otp_clock) for _ in range(3)]
    wrong = otp_clock.wrong_code(accounts[0].secret)
    found = []
    for number in range(15):
        found.append(await send_code(limited, accounts[number % 3], wrong, OTHER_ADDRESS))
    assert statuses(found) == [401] * 10 + [429] * 5


# --- the current password in requests with a session ------------------------------------------------


async def test_a_wrong_current_password_is_limited_like_a_failed_login(
    limited: Stack, owner: Caller, clock: Clock
) -> None:
    path = f"/api/v1/users/{owner.id}"
    found = []
    for n in range(6):
        wrong = {"current_password": f"wrong {n}", "new_password": "another horse battery"}
        found.append((await owner.http.put(f"{path}/password", json=wrong)).status_code)
        wrong = {"current_password": f"wrong {n}", "email": "new@example.com"}
        found.append((await owner.http.patch(path, json=wrong)).status_code)
    assert found == [403] * 10 + [429] * 2
    right = {"current_password": PASSWORD, "new_password": "another horse battery"}
    assert delay(await owner.http.put(f"{path}/password", json=right)) == 6
    assert (await log_in(limited, owner.email)).status_code == 200
    clock.now += 6
    assert (await owner.http.put(f"{path}/password", json=right)).status_code == 204


async def test_only_ten_of_many_concurrent_wrong_current_passwords_are_checked(limited: Stack, owner: Caller) -> None:
    body = {"current_password": "wrong", "new_password": "another horse battery"}
    path = f"/api/v1/users/{owner.id}/password"
    responses = await asyncio.gather(*[owner.http.put(path, json=body) for _ in range(50)])
    assert (statuses(responses).count(403), statuses(responses).count(429)) == (10, 40)
