"""Passwords: the rules for new ones, hashing and verification."""

import asyncio
import base64
import logging
import os
import unicodedata
from collections.abc import Callable
from functools import cached_property, partial
from importlib import resources
from typing import NamedTuple

import argon2

from kingpost.auth.passwords.hashing_queue import HashingQueue
from kingpost.emails import comparable
from kingpost.problems import Unavailable

MIN_LENGTH, MAX_LENGTH = 8, 256
"""Code points after normalisation."""

MAX_RAW_LENGTH = 4 * MAX_LENGTH
"""Code points before normalisation. NFC composes at most four code points to one, so that a longer text is always too
long. The limit also bounds the time of normalisation, which is quadratic for long runs of combining marks."""

MIN_LOCAL_PART = 3
"""Characters. A password may contain the local part of the owner's e-mail address if that is shorter."""

logger = logging.getLogger("kingpost.passwords")


def normalise(password: str) -> str:
    """Return the password in the form that is hashed, so that different ways to type the same characters match.

    This follows RFC 8265, section 4.2 (OpaqueString): all Unicode spaces become U+0020, then NFC is applied. Nothing
    is trimmed, truncated or case-folded. Unlike in that profile, no character is rejected.
    """
    spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in password)
    return unicodedata.normalize("NFC", spaced)


class PasswordFault(NamedTuple):
    """A rule that a password breaks. `detail` does not contain any part of the password."""

    code: str
    detail: str


class PasswordRules:
    """The rules for new passwords. There are no composition rules (NIST SP 800-63B, section 3.1.1.2)."""

    def faults(self, password: str, email: str) -> list[PasswordFault]:
        """Return all rules that a password breaks. `email` is its owner's address, which is not validated here."""
        if len(password) > MAX_RAW_LENGTH:
            return [_too_long()]
        password = normalise(password)
        faults = []
        if len(password) < MIN_LENGTH:
            faults.append(PasswordFault("too_short", f"A password must have at least {MIN_LENGTH} characters"))
        if len(password) > MAX_LENGTH:
            faults.append(_too_long())
        if password.casefold() in self._common:
            faults.append(PasswordFault("common", "This password is too common and easy to guess: choose another"))
        local_part = comparable(email[:MAX_LENGTH].rpartition("@")[0])
        if len(local_part) >= MIN_LOCAL_PART and local_part in comparable(password):
            detail = "A password must not contain the part of your e-mail address before the @"
            faults.append(PasswordFault("contains_email", detail))
        return faults

    @cached_property
    def _common(self) -> frozenset[str]:
        """The shipped list of common passwords, made by tools/common_passwords.py. It is read on first use."""
        text = resources.files("kingpost.auth.passwords").joinpath("common_passwords.txt").read_text("utf-8")
        return frozenset(text.splitlines())


def _too_long() -> PasswordFault:
    return PasswordFault("too_long", f"A password must have at most {MAX_LENGTH} characters")


class HashingCost(NamedTuple):
    """What one hash costs. The defaults are OWASP's recommendation for Argon2id; see also RFC 9106, section 4."""

    memory_kib: int = 19456
    passes: int = 2
    lanes: int = 1


PRODUCTION = HashingCost()


class PasswordHasher:
    """Hashes and verifies passwords with Argon2id in a few threads, so that many logins do not block other requests.

    Argon2 releases the GIL, so one thread per core uses all cores. Checks of passwords come before new hashes, which
    anyone can cause by signing up (`HashingQueue`). At most `waiting` callers queue for a thread. Callers beyond that,
    and callers that are not served by their deadline, get `Unavailable`. A job is skipped if its caller was cancelled
    before it started.
    """

    def __init__(
        self,
        cost: HashingCost = PRODUCTION,
        *,
        threads: int | None = None,
        waiting: int = 64,
        deadline: float = 5.0,
    ) -> None:
        """Create a hasher; threads are started on first use.

        Args:
            cost: the cost of new hashes. Stored hashes name their own.
            threads: the number of threads; by default one per core.
            waiting: the number of callers that may wait for a thread.
            deadline: the seconds that a call may take, including the wait.
        """
        threads = threads or os.process_cpu_count() or 1
        self._argon2 = argon2.PasswordHasher(time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=cost.lanes)
        self._queue = HashingQueue(threads)
        self._max_callers = threads + waiting
        self._callers = 0
        self._hashing = 0
        self._deadline = deadline
        self._closed = False
        self._dummy = _unmatchable_hash(cost)

    async def hash(self, password: str, *, is_proven: bool = False) -> str:
        """Return the hash of a password, with its parameters and a new salt (PHC string format).

        With `is_proven`, the caller has proved that the account is theirs, and is served like a login. Anyone else can
        cause hashing by signing up.

        Raises:
            ValueError: the password is longer than `MAX_RAW_LENGTH`.
            Unavailable: too many callers are waiting, or the deadline has passed.
        """
        if len(password) > MAX_RAW_LENGTH:
            raise ValueError("a password that breaks the rules cannot be hashed")
        job = partial(self._argon2.hash, _bytes(password))
        if is_proven:
            return await self._run(job, urgent=True)
        # Half of the places are reserved for people who have an account.
        if self._hashing >= (self._max_callers + 1) // 2:
            raise Unavailable("Too many passwords are being hashed at the moment")
        self._hashing += 1
        try:
            return await self._run(job, urgent=False)
        finally:
            self._hashing -= 1

    async def verify(self, stored_hash: str | None, password: str) -> bool:
        """Return whether a password matches a stored hash.

        For None (no such account) the result is False, after the same time as for a wrong password. A corrupt hash
        matches no password and is logged.

        Raises:
            Unavailable: too many callers are waiting, or the deadline has passed.
        """
        # No account has such a password, so an early return reveals nothing about one.
        if len(password) > MAX_RAW_LENGTH:
            return False
        candidate = self._dummy if stored_hash is None else stored_hash
        matches = await self._run(partial(self._check, candidate, _bytes(password)), urgent=True)
        return matches and stored_hash is not None

    def needs_rehash(self, stored_hash: str) -> bool:
        """Return whether a hash was made with other parameters than the present ones."""
        try:
            return self._argon2.check_needs_rehash(stored_hash)
        except argon2.exceptions.InvalidHashError:
            return True

    def close(self) -> None:
        """Accept no more jobs. The threads finish the accepted ones, then end."""
        self._closed = True
        self._queue.close()

    def _check(self, stored_hash: str, password: bytes) -> bool:
        try:
            return self._argon2.verify(stored_hash, password)
        except argon2.exceptions.VerifyMismatchError:
            return False
        except (argon2.exceptions.InvalidHashError, argon2.exceptions.VerificationError) as error:
            logger.error("a stored password hash cannot be checked: %s", error)
            return False

    async def _run[Result](self, job: Callable[[], Result], *, urgent: bool) -> Result:
        """Run a job in a thread.

        Raises:
            Unavailable: the hasher is closed, too many callers are waiting, or the deadline has passed.
        """
        if self._closed or self._callers >= self._max_callers:
            raise Unavailable("Too many passwords are being checked at the moment")
        self._callers += 1
        try:
            async with asyncio.timeout(self._deadline):
                # A time-out also cancels the job, which is skipped then unless it has started.
                return await asyncio.wrap_future(self._queue.submit(job, urgent=urgent))
        except TimeoutError:
            raise Unavailable("Checking a password took too long") from None
        finally:
            self._callers -= 1


def _bytes(password: str) -> bytes:
    # The HTTP decoder rejects lone surrogates, but the command line can pass them on.
    return normalise(password).encode("utf-8", "surrogatepass")


def _unmatchable_hash(cost: HashingCost) -> str:
    """Return a random hash with the present parameters. No password is known for it, and none was hashed."""
    salt, digest = (base64.b64encode(os.urandom(size)).rstrip(b"=").decode() for size in (16, 32))
    return f"$argon2id$v=19$m={cost.memory_kib},t={cost.passes},p={cost.lanes}${salt}${digest}"
