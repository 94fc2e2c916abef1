"""The throttle: the keys of an attempt, and its outcome."""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kingpost.auth.throttling.counters import AttemptKeys, Backoff, Begun
from kingpost.auth.throttling.memory import MemoryCounters
from kingpost.auth.throttling.pending import QUEUE_LENGTH
from kingpost.auth.throttling.service import Attempt, Throttle, networks_of
from kingpost.problems import InvalidCredentials, MfaRequired, RateLimited, Unavailable
from kingpost.secret import MasterSecret
from kingpost.settings import Rate
from tests.timing import at_once

EMAIL, ADDRESS = "ada@example.com", "192.0.2.1"
THREE = Rate(3, "minute")
SECRET = MasterSecret("the master secret of the tests")


class Spied(MemoryCounters):
    """Counters that record the keys of their calls."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: set[str] = set()

    async def begin(self, keys: AttemptKeys, backoff: Backoff) -> Begun:
        self.keys.add(keys.account)
        if keys.client is not None:
            self.keys |= {keys.client.pair, *[network.key for network in keys.client.networks]}
        return await super().begin(keys, backoff)


@pytest.fixture
def throttle() -> Throttle:
    return Throttle(MemoryCounters(), THREE, SECRET)


async def fail(throttle: Throttle, times: int, email: str = EMAIL, address: str | None = ADDRESS) -> None:
    for _ in range(times):
        await over(throttle.password(email, address))


async def over(attempt: AbstractAsyncContextManager[Attempt]) -> None:
    """Make a failed attempt."""
    async with attempt:
        pass


async def test_keys_do_not_reveal_account_or_address() -> None:
    spied = Spied()
    for secret in ("one secret", "another secret"):
        throttle = Throttle(spied, THREE, MasterSecret(secret))
        async with throttle.password(EMAIL, ADDRESS) as attempt:
            attempt.succeed()
        await over(throttle.proof("an id", ADDRESS))
        await over(throttle.code("an id", ADDRESS))
    # Account (or session), address and the pair of both, for passwords, codes and proofs; none of them is the same with
    # another secret.
    assert len(spied.keys) == 18
    assert all(len(key) == 64 and int(key, 16) for key in spied.keys)


async def test_without_an_address_only_the_account_is_limited(throttle: Throttle) -> None:
    await fail(throttle, 3, address=None)
    with pytest.raises(RateLimited):
        await over(throttle.password(EMAIL, None))
    await over(throttle.password("bob@example.com", None))


async def test_an_attempt_that_did_not_fail_is_undone(throttle: Throttle) -> None:
    for error in (Unavailable(), RateLimited(retry_after=1), MfaRequired()):
        for _ in range(5):
            with pytest.raises(type(error)):
                async with throttle.password(EMAIL, ADDRESS):
                    raise error
    await fail(throttle, 3)
    with pytest.raises(RateLimited):
        await over(throttle.password(EMAIL, ADDRESS))


@pytest.mark.parametrize("error", [InvalidCredentials, RuntimeError, asyncio.CancelledError])
async def test_every_other_attempt_stays_counted(throttle: Throttle, error: type[BaseException]) -> None:
    for _ in range(3):
        with pytest.raises(error):
            async with throttle.password(EMAIL, ADDRESS):
                raise error
    with pytest.raises(RateLimited):
        await over(throttle.password(EMAIL, ADDRESS))


async def test_an_error_after_a_success_changes_nothing(throttle: Throttle) -> None:
    await fail(throttle, 2, "bob@example.com")
    with contextlib.suppress(Unavailable):
        async with throttle.password(EMAIL, ADDRESS) as attempt:
            attempt.succeed()
            raise Unavailable()
    # If the attempt had been undone twice, the address would have two failures left.
    await fail(throttle, 1)
    with pytest.raises(RateLimited):
        await over(throttle.password(EMAIL, ADDRESS))


async def test_a_new_password_resets_the_counters_of_the_account_and_its_usual_address(throttle: Throttle) -> None:
    async with throttle.password(EMAIL, ADDRESS) as attempt:
        attempt.succeed()
    await fail(throttle, 3, address=None)
    await fail(throttle, 2)
    await throttle.forget(EMAIL, ADDRESS)
    await fail(throttle, 1)
    await fail(throttle, 3, address=None)
    with pytest.raises(RateLimited):
        await over(throttle.password(EMAIL, None))


async def test_codes_have_five_free_attempts_and_the_same_delays() -> None:
    for rate, first in ((None, 6), (THREE, 20)):
        throttle = Throttle(MemoryCounters(), rate, SECRET)
        for _ in range(5):
            await over(throttle.code("an id", ADDRESS))
        with pytest.raises(RateLimited) as refused:
            await over(throttle.code("an id", ADDRESS))
        assert refused.value.headers == {"Retry-After": str(first)}
        await over(throttle.code("another id", None))


async def test_no_password_attempt_is_counted_without_a_limit(throttle: Throttle) -> None:
    spied = Spied()
    unlimited = Throttle(spied, None, SECRET)
    await fail(unlimited, 20)
    for _ in range(20):
        async with unlimited.proof("an id", ADDRESS) as attempt:
            attempt.succeed()
    assert spied.keys == set()


async def test_logins_and_proofs_have_separate_counters(throttle: Throttle) -> None:
    await fail(throttle, 3)
    for _ in range(3):
        await over(throttle.proof(EMAIL, ADDRESS))
    with pytest.raises(RateLimited):
        await over(throttle.proof(EMAIL, ADDRESS))


async def test_wrong_proofs_in_one_session_delay_no_other_session_at_another_address(throttle: Throttle) -> None:
    for _ in range(3):
        await over(throttle.proof("stolen session", "198.51.100.66"))
    with pytest.raises(RateLimited):
        await over(throttle.proof("stolen session", ADDRESS))
    with pytest.raises(RateLimited):
        await over(throttle.proof("another session", "198.51.100.66"))
    await over(throttle.proof("another session", ADDRESS))


# --- the queue --------------------------------------------------------------------------------------


@pytest.fixture
async def in_progress() -> AsyncGenerator[AsyncExitStack]:
    """Attempts that are in progress until the test ends."""
    async with AsyncExitStack() as attempts:
        yield attempts


async def begin_three(throttle: Throttle) -> list[AbstractAsyncContextManager[Attempt]]:
    """Begin as many attempts as are free, and leave them in progress."""
    attempts = [throttle.password(EMAIL, ADDRESS) for _ in range(3)]
    for attempt in attempts:
        await attempt.__aenter__()
    return attempts


async def test_an_attempt_waits_for_the_outcome_of_those_in_progress(throttle: Throttle) -> None:
    first = await throttle.password(EMAIL, ADDRESS).__aenter__()
    async with throttle.password(EMAIL, ADDRESS) as second, throttle.password(EMAIL, ADDRESS):
        waiting = asyncio.create_task(over(throttle.password(EMAIL, ADDRESS)))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        second.succeed()
    await waiting
    assert not first.has_succeeded


async def test_a_waiting_attempt_is_refused_when_all_others_have_failed(throttle: Throttle) -> None:
    first = await begin_three(throttle)
    waiting = asyncio.create_task(over(throttle.password(EMAIL, ADDRESS)))
    for attempt in first:
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await attempt.__aexit__(None, None, None)
    with pytest.raises(RateLimited):
        await waiting


async def test_an_attempt_does_not_wait_for_attempts_with_other_keys(
    throttle: Throttle, in_progress: AsyncExitStack
) -> None:
    await fail(throttle, 3)
    await in_progress.enter_async_context(throttle.password("bob@example.com", "192.0.2.2"))
    with pytest.raises(RateLimited):
        at_once(over(throttle.password(EMAIL, ADDRESS)))


async def test_the_queue_is_bounded(throttle: Throttle, in_progress: AsyncExitStack) -> None:
    for _ in range(3):
        await in_progress.enter_async_context(throttle.password(EMAIL, ADDRESS))
    waiting = [asyncio.create_task(over(throttle.password(EMAIL, ADDRESS))) for _ in range(QUEUE_LENGTH)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimited):
        at_once(over(throttle.password(EMAIL, ADDRESS)))
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_the_wait_in_the_queue_times_out(
    throttle: Throttle, in_progress: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kingpost.auth.throttling.service.QUEUE_TIMEOUT", 0.05)
    for _ in range(3):
        await in_progress.enter_async_context(throttle.password(EMAIL, ADDRESS))
    with pytest.raises(RateLimited):
        await over(throttle.password(EMAIL, ADDRESS))


async def test_an_attempt_cancelled_at_its_end_is_no_longer_in_progress() -> None:
    class Cancelled(MemoryCounters):
        async def undo(self, keys: Sequence[str]) -> None:
            raise asyncio.CancelledError

    throttle = Throttle(Cancelled(), THREE, SECRET)
    await fail(throttle, 2)
    with pytest.raises(asyncio.CancelledError):
        async with throttle.password(EMAIL, ADDRESS):
            raise Unavailable
    with pytest.raises(RateLimited):
        at_once(over(throttle.password(EMAIL, ADDRESS)))


# --- networks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "networks"),
    [
        ("192.0.2.1", ["192.0.2.1"]),
        ("::ffff:192.0.2.1", ["192.0.2.1"]),
        ("::FFFF:c000:201", ["192.0.2.1"]),
        ("2001:db8:1:2:3:4:5:6", ["20010db800010002/64", "20010db80001/48"]),
        ("2001:DB8:1:2::", ["20010db800010002/64", "20010db80001/48"]),
        ("2001:0db8:0001:0002:0000:0000:0000:0000", ["20010db800010002/64", "20010db80001/48"]),
        ("2001:db8:1:3::1", ["20010db800010003/64", "20010db80001/48"]),
        ("2001:db8:2:2::1", ["20010db800020002/64", "20010db80002/48"]),
        ("fe80::1%eth0", ["fe80000000000000/64", "fe8000000000/48"]),
        ("::1", ["0/64", "0/48"]),
        ("a socket", ["a socket"]),
    ],
)
def test_a_client_is_its_address_or_its_networks(address: str, networks: list[str]) -> None:
    assert [network.key for network in networks_of(address)] == networks
    assert [network.clients for network in networks_of(address)] == [1, 16][: len(networks)]


@given(st.integers(0, 2**128 - 1))
def test_every_notation_of_an_address_is_the_same_client(number: int) -> None:
    address = ipaddress.IPv6Address(number)
    expected = networks_of(str(address))
    assert networks_of(address.exploded.upper()) == networks_of(address.compressed.upper()) == expected


# --- codes, and the /48 ------------------------------------------------------------------------------

HOME, STRANGER = "2001:db8:1:2::1", "203.0.113.9"


async def right(attempt: AbstractAsyncContextManager[Attempt]) -> None:
    async with attempt as made:
        made.succeed()


async def refused(attempt: AbstractAsyncContextManager[Attempt]) -> bool:
    try:
        await over(attempt)
    except RateLimited:
        return True
    return False


async def test_wrong_codes_of_a_stranger_do_not_delay_the_owner_at_a_usual_address(throttle: Throttle) -> None:
    await right(throttle.code("an id", HOME))
    for number in range(20):
        await refused(throttle.code("an id", f"203.0.113.{number}"))
    assert await refused(throttle.code("an id", STRANGER))
    for _ in range(3):
        await right(throttle.code("an id", HOME))
    # The usual address has its own allowance, and no more.
    assert [await refused(throttle.code("an id", HOME)) for _ in range(6)] == [False] * 5 + [True]


async def test_wrong_codes_count_for_the_network_over_all_accounts(throttle: Throttle) -> None:
    assert [await refused(throttle.code(f"{n}", STRANGER)) for n in range(11)] == [False] * 10 + [True]
    assert not await refused(throttle.code("another", HOME))


async def test_codes_are_limited_for_accounts_alone_where_logins_are_not_limited() -> None:
    throttle = Throttle(MemoryCounters(), None, SECRET)
    assert not any([await refused(throttle.code(f"{n}", STRANGER)) for n in range(100)])
    await right(throttle.code("an id", HOME))
    assert [await refused(throttle.code("an id", STRANGER)) for _ in range(6)] == [False] * 5 + [True]
    assert not await refused(throttle.code("an id", HOME))


async def test_codes_and_passwords_of_a_network_are_counted_separately(throttle: Throttle) -> None:
    for number in range(10):
        await over(throttle.code(f"{number}", ADDRESS))
    assert await refused(throttle.code("another", ADDRESS))
    await fail(throttle, 3)
    await over(throttle.code("yet another", HOME))


@pytest.mark.parametrize("kind", ["passwords", "codes"])
async def test_rotating_the_networks_of_a_site_gains_little(throttle: Throttle, kind: str) -> None:
    def attempt(number: int, site: int) -> AbstractAsyncContextManager[Attempt]:
        address = f"2001:db8:{site}:{number:x}::1"
        if kind == "codes":
            return throttle.code(f"{number}", address)
        return throttle.password(f"{number}@example.com", address)

    allowed = 16 * (2 * 5 if kind == "codes" else 3)
    passed = [not await refused(attempt(number, 1)) for number in range(2 * allowed)]
    assert passed == [True] * allowed + [False] * allowed
    assert not await refused(attempt(0, 2))


async def test_right_passwords_leave_no_trace_in_the_counters_of_a_site(throttle: Throttle) -> None:
    for number in range(200):
        await right(throttle.password(f"{number}@example.com", f"2001:db8:1:{number:x}::1"))
    assert not await refused(throttle.password(EMAIL, "2001:db8:1:ffff::1"))
