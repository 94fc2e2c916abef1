"""Passwords: the rules, and the hasher with its limits (with real Argon2)."""

import asyncio
import contextlib
import logging
import threading
import time
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from importlib import resources

import argon2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kingpost.auth.passwords.hashing import MAX_RAW_LENGTH, HashingCost, PasswordHasher, PasswordRules, normalise
from kingpost.problems import Unavailable
from tests.timing import assert_linear, at_once
from tools.common_passwords import common_passwords

RULES = PasswordRules()
GOOD = "correct horse battery"
TIMEOUT = 30.0
"""Seconds to wait for a thread. It never takes nearly as long."""


def codes(password: str, email: str = "mike@kingpost.test") -> list[str]:
    return [code for code, _ in RULES.faults(password, email)]


# --- rules -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        ("", ["too_short"]),
        ("x7#kQ2p", ["too_short"]),
        ("x7#kQ2pL", []),
        ("        ", []),
        ("\U0001f600" * 8, []),
        ("\U0001f600" * 7, ["too_short"]),
        ("é" * 256, []),
        ("é" * 257, ["too_long"]),
        ("e\u0301" * 256, []),  # 256 code points after normalisation
        ("e\u0301" * 7, ["too_short"]),  # 14 before, 7 after
        ("x" * 1_000_000, ["too_long"]),
        ("password", ["common"]),
        ("PassWord", ["common"]),
        ("12345678", ["common"]),
        ("password, but longer", []),
        (" password ", []),
        ("a mike of sorts", ["contains_email"]),
        ("a MIKE of sorts", ["contains_email"]),
        ("\uff4d\uff49\uff4b\uff45 of sorts", ["contains_email"]),  # full-width
        ("m\u0131ke of sorts", []),  # dotless i
    ],
)
def test_rules(password: str, expected: list[str]) -> None:
    assert codes(password) == expected


@pytest.mark.parametrize(
    ("email", "expected"),
    [
        ("al@kingpost.test", []),
        ("ale@kingpost.test", ["contains_email"]),
        ("ALE@kingpost.test", ["contains_email"]),
        ("ale", []),  # not an address: another rule checks that
        ("", []),
        ("@kingpost.test", []),
        ("brew@kingpost.test", []),
    ],
)
def test_a_local_part_of_three_characters_is_checked(email: str, expected: list[str]) -> None:
    assert codes("an ale at the inn", email) == expected


def test_all_faults_are_reported_together() -> None:
    assert codes("mike", "mike@kingpost.test") == ["too_short", "contains_email"]
    assert codes("liverpool", "liverpool@kingpost.test") == ["common", "contains_email"]


@given(st.text(min_size=4, max_size=12))
def test_details_do_not_repeat_the_password(password: str) -> None:
    details = [detail for _, detail in RULES.faults(password, f"{password}@kingpost.test")]
    fixed = {
        "A password must have at least 8 characters",
        "A password must have at most 256 characters",
        "This password is too common and easy to guess: choose another",
        "A password must not contain the part of your e-mail address before the @",
    }
    assert set(details) <= fixed


def test_many_combining_marks_take_linear_time() -> None:
    assert codes("a" + "\u0301\u0316" * 250_000) == ["too_long"]
    # Normalising them would take quadratic time.
    assert_linear(lambda size: codes("a" + "\u0301\u0316" * size), 2_000)


def test_the_raw_length_limit_refuses_only_too_long_passwords() -> None:
    """NFC combines at most four code points into one: the longest decomposition has four."""
    longest = max(len(unicodedata.normalize("NFD", chr(point))) for point in range(0x110000))
    assert longest == MAX_RAW_LENGTH // 256


def test_the_list_of_common_passwords_is_up_to_date() -> None:
    text = resources.files("kingpost.auth.passwords").joinpath("common_passwords.txt").read_text("utf-8")
    assert text.splitlines() == common_passwords()


def test_every_common_password_is_refused() -> None:
    assert [word for word in common_passwords() if "common" not in codes(word)] == []


# --- normalisation ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("e\u0301", "é"),
        ("a\u00a0b\u3000c", "a b c"),  # spaces of all scripts
        ("  trimmed? ", "  trimmed? "),
        ("Case", "Case"),
        ("\uff41", "\uff41"),  # width is kept, as RFC 8265 requires
        ("\t\x00", "\t\x00"),
    ],
)
def test_normalise(typed: str, meant: str) -> None:
    assert normalise(typed) == meant


@given(st.text())
def test_normalising_is_idempotent(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


# --- the hasher ------------------------------------------------------------------------------------


@pytest.fixture
def hasher() -> Iterator[PasswordHasher]:
    hasher = PasswordHasher()
    yield hasher
    hasher.close()


class Gate:
    """Blocks the threads of all hashers until it is opened, and records their passwords."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.begun: list[str] = []
        self.hashes: list[str] = []
        self._began = threading.Condition()
        verify = argon2.PasswordHasher.verify

        def held(argon: argon2.PasswordHasher, stored_hash: str, password: bytes) -> bool:
            with self._began:
                self.begun.append(password.decode())
                self.hashes.append(stored_hash)
                self._began.notify_all()
            self.open.wait(TIMEOUT)
            return verify(argon, stored_hash, password)

        monkeypatch.setattr(argon2.PasswordHasher, "verify", held)

    async def wait_for(self, password: str = GOOD) -> None:
        """Wait until a thread has started with this password. The event loop is blocked, so no deadline can pass."""
        await asyncio.sleep(0)  # New tasks submit their work to the threads.
        with self._began:
            assert self._began.wait_for(lambda: password in self.begun, TIMEOUT)


@asynccontextmanager
async def narrow(
    monkeypatch: pytest.MonkeyPatch, *, waiting: int, deadline: float
) -> AsyncIterator[tuple[PasswordHasher, Gate]]:
    """A hasher with one thread, which is blocked by a closed gate."""
    hasher = PasswordHasher(threads=1, waiting=waiting, deadline=deadline)
    gate = Gate(monkeypatch)
    try:
        yield hasher, gate
    finally:
        gate.open.set()
        hasher.close()


async def test_hash_and_verify(hasher: PasswordHasher) -> None:
    stored = await hasher.hash(GOOD)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await hasher.verify(stored, GOOD)
    assert not await hasher.verify(stored, GOOD + " ")
    assert not await hasher.verify(stored, "")


async def test_every_hash_has_its_own_salt(hasher: PasswordHasher) -> None:
    assert await hasher.hash(GOOD) != await hasher.hash(GOOD)


async def test_composed_and_decomposed_passwords_are_equal(hasher: PasswordHasher) -> None:
    stored = await hasher.hash("cafe\u0301 au\u00a0lait")
    assert await hasher.verify(stored, "café au lait")


async def test_passwords_are_not_truncated(hasher: PasswordHasher) -> None:
    stored = await hasher.hash("é" * 255 + "a")
    assert not await hasher.verify(stored, "é" * 255 + "b")
    assert not await hasher.verify(await hasher.hash("before\x00after"), "before")


async def test_a_password_can_have_lone_surrogates(hasher: PasswordHasher) -> None:
    assert await hasher.verify(await hasher.hash("\udcff" * 8), "\udcff" * 8)


async def test_a_password_over_the_length_limit_is_not_hashed(hasher: PasswordHasher) -> None:
    with pytest.raises(ValueError, match="rules"):
        await hasher.hash("x" * (MAX_RAW_LENGTH + 1))
    stored = await hasher.hash(GOOD)
    for candidate in (None, stored):
        assert not at_once(hasher.verify(candidate, "a" + "\u0301\u0316" * 250_000))


async def test_an_unknown_account_takes_as_long_as_a_wrong_password(hasher: PasswordHasher) -> None:
    stored = await hasher.hash(GOOD)
    times: dict[str | None, list[float]] = {stored: [], None: []}
    for _ in range(15):
        for candidate, taken in times.items():
            # Processor time of all threads: it does not depend on the load of the machine.
            began = time.process_time()
            assert not await hasher.verify(candidate, "a wrong password")
            taken.append(time.process_time() - began)
    known, unknown = min(times[stored]), min(times[None])
    assert 0.6 < known / unknown < 1.6


@pytest.mark.parametrize("cost", [HashingCost(), HashingCost(memory_kib=64, passes=1)])
async def test_the_check_of_an_unknown_account_uses_the_cost_of_new_hashes(
    cost: HashingCost, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasher, gate = PasswordHasher(cost), Gate(monkeypatch)
    gate.open.set()
    stored = await hasher.hash(GOOD)
    assert f"$m={cost.memory_kib},t={cost.passes},p=1$" in stored
    for candidate in (None, stored):
        await hasher.verify(candidate, GOOD)
    unknown, known = (argon2.extract_parameters(checked) for checked in gate.hashes)
    assert unknown == known
    hasher.close()


async def test_a_rehash_is_needed_when_parameters_change(hasher: PasswordHasher) -> None:
    old = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(GOOD)
    assert hasher.needs_rehash(old)
    assert hasher.needs_rehash("corrupt")
    assert not hasher.needs_rehash(await hasher.hash(GOOD))
    assert await hasher.verify(old, GOOD)


@pytest.mark.parametrize(
    "stored", ["corrupt", "", "$argon2id$v=19$m=19456,t=2,p=1$!!!$!!!", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA"]
)
async def test_a_corrupt_hash_matches_nothing_and_is_logged(
    hasher: PasswordHasher, stored: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert not await hasher.verify(stored, GOOD)
    assert "a stored password hash cannot be checked" in caplog.text
    assert GOOD not in caplog.text
    assert "19456" not in caplog.text


async def test_the_event_loop_keeps_running_during_hashing(hasher: PasswordHasher) -> None:
    hashing = asyncio.gather(*(hasher.verify(None, GOOD) for _ in range(10)))
    ticks = 0
    while not hashing.done():
        await asyncio.sleep(0)
        ticks += 1
    assert ticks > 100


async def test_a_full_queue_refuses_immediately(monkeypatch: pytest.MonkeyPatch) -> None:
    async with narrow(monkeypatch, waiting=2, deadline=10) as (hasher, gate):
        accepted = [asyncio.create_task(hasher.verify(None, GOOD)) for _ in range(3)]
        await gate.wait_for()
        with pytest.raises(Unavailable) as caught:
            at_once(hasher.verify(None, GOOD))
        assert caught.value.headers == {"Retry-After": "1"}
        gate.open.set()
        assert await asyncio.gather(*accepted) == [False] * 3
        assert not await hasher.verify(None, GOOD)


async def test_new_passwords_leave_half_of_the_queue_to_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    async with narrow(monkeypatch, waiting=3, deadline=10) as (hasher, gate):
        logging_in = [asyncio.create_task(hasher.verify(None, GOOD))]
        await gate.wait_for()
        signing_up = [asyncio.create_task(hasher.hash(GOOD)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await hasher.hash(GOOD)
        logging_in.append(asyncio.create_task(hasher.verify(None, GOOD)))
        gate.open.set()
        assert await asyncio.gather(*logging_in) == [False] * 2
        assert len(await asyncio.gather(*signing_up)) == 2


async def test_logins_are_checked_before_new_passwords_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with narrow(monkeypatch, waiting=8, deadline=10) as (hasher, gate):
        done: list[str] = []

        async def note(name: str, job: Awaitable[object]) -> None:
            await job
            done.append(name)

        tasks = [asyncio.create_task(note("login", hasher.verify(None, GOOD)))]
        await gate.wait_for()
        tasks += [asyncio.create_task(note("sign-up", hasher.hash(GOOD))) for _ in range(3)]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(note("login", hasher.verify(None, GOOD))) for _ in range(3)]
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(*tasks)
        assert done == ["login"] * 4 + ["sign-up"] * 3


async def test_a_call_past_its_deadline_is_unavailable_and_never_hashed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with narrow(monkeypatch, waiting=5, deadline=0.1) as (hasher, gate):
        first = asyncio.create_task(hasher.verify(None, "first"))
        await gate.wait_for("first")
        waiting = [hasher.verify(None, "waiting") for _ in range(5)]
        outcomes = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Unavailable] * 6
        gate.open.set()
        last = asyncio.create_task(hasher.verify(None, "last"))
        await gate.wait_for("last")  # The single thread works in the order of arrival.
        assert gate.begun == ["first", "last"]
        await asyncio.wait([last])  # Done, or past its deadline again on a busy machine.


async def test_the_next_call_after_a_passed_deadline_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    async with narrow(monkeypatch, waiting=5, deadline=0.1) as (hasher, gate):
        with pytest.raises(Unavailable):
            await hasher.verify(None, GOOD)
        gate.open.set()
        async with asyncio.timeout(TIMEOUT):
            while True:
                with contextlib.suppress(Unavailable):  # A busy machine can take longer than the deadline.
                    assert not await hasher.verify(None, GOOD)
                    return


async def test_a_cancelled_call_frees_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    async with narrow(monkeypatch, waiting=1, deadline=10) as (hasher, gate):
        first, second = [asyncio.create_task(hasher.verify(None, GOOD)) for _ in range(2)]
        await gate.wait_for()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        third = asyncio.create_task(hasher.verify(None, GOOD))
        await asyncio.sleep(0)
        gate.open.set()
        assert not any(await asyncio.gather(first, third))
        assert gate.begun == [GOOD] * 2


async def test_close_finishes_accepted_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    async with narrow(monkeypatch, waiting=5, deadline=10) as (hasher, gate):
        stored = argon2.PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1).hash(GOOD)
        accepted = [asyncio.create_task(hasher.verify(stored, GOOD)) for _ in range(3)]
        await gate.wait_for()
        hasher.close()
        with pytest.raises(Unavailable):
            await hasher.verify(None, GOOD)
        gate.open.set()
        assert await asyncio.gather(*accepted) == [True] * 3
