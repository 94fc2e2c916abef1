"""Passwords: which are accepted, and how they are hashed and checked."""

import asyncio
import base64
import logging
import os
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from importlib import resources
from typing import NamedTuple

import argon2

from kingpost.emails import comparable
from kingpost.problems import Unavailable

SHORTEST, LONGEST = 8, 256
"""Code points, after normalisation."""

LONGEST_RAW = 4 * LONGEST
"""Code points before it. NFC makes one out of four at most, so a longer text is too long in any case; and
ordering endless combining marks takes quadratic time, which no stranger may make us spend."""

TELLING_LOCAL_PART = 3
"""Characters from which on an e-mail's local part says something about its owner."""

MEMORY_KIB, PASSES, LANES = 19456, 2, 1
"""Argon2id as OWASP recommends it; see also RFC 9106, section 4."""

logger = logging.getLogger("kingpost.passwords")


def normalise(password: str) -> str:
    """The password as it is hashed: two ways to type the same characters give the same text.

    As RFC 8265, section 4.2 (OpaqueString) has it: spaces of all scripts become U+0020, then NFC. Nothing
    is trimmed, cut or case-folded. Other than there, no character is refused.
    """
    spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in password)
    return unicodedata.normalize("NFC", spaced)


class PasswordFault(NamedTuple):
    """A rule that a password breaks, for programs and for people. It repeats nothing of the password."""

    code: str
    detail: str


class PasswordRules:
    """What a new password must be. There are no composition rules (NIST SP 800-63B, section 3.1.1.2)."""

    def faults(self, password: str, email: str) -> list[PasswordFault]:
        """Every rule that the password breaks for the owner of an address; the address itself is not checked."""
        if len(password) > LONGEST_RAW:
            return [_too_long()]
        password = normalise(password)
        faults = []
        if len(password) < SHORTEST:
            faults.append(PasswordFault("too_short", f"A password has at least {SHORTEST} characters"))
        if len(password) > LONGEST:
            faults.append(_too_long())
        if password.casefold() in self._common:
            faults.append(PasswordFault("common", "This password is one of those that everyone tries first"))
        local_part = comparable(email[:LONGEST].rpartition("@")[0])
        if len(local_part) >= TELLING_LOCAL_PART and local_part in comparable(password):
            faults.append(PasswordFault("contains_email", "A password may not contain your e-mail's local part"))
        return faults

    @cached_property
    def _common(self) -> frozenset[str]:
        """The shipped list, made by tools/common_passwords.py; read when it is first needed."""
        text = resources.files("kingpost.auth.passwords").joinpath("common_passwords.txt").read_text("utf-8")
        return frozenset(text.splitlines())


def _too_long() -> PasswordFault:
    return PasswordFault("too_long", f"A password has at most {LONGEST} characters")


class PasswordHasher:
    """Argon2id in a few threads, so that neither logins nor floods of them stop anything else.

    Argon2 lets go of the GIL: with a thread a core it uses the machine and no more. At most `waiting`
    callers queue for a thread. Those beyond, and those not served by their deadline, get `Unavailable`;
    a job whose caller has given up before it began is never done.
    """

    def __init__(self, *, threads: int | None = None, waiting: int = 64, deadline: float = 5.0) -> None:
        """Start no thread yet.

        Args:
            threads: how many hash at a time; by default one a core.
            waiting: how many callers may wait beside those being served.
            deadline: seconds from the call to the answer.
        """
        threads = threads or os.process_cpu_count() or 1
        self._argon2 = argon2.PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._most_callers = threads + waiting
        self._callers = 0
        self._hashing = 0
        self._deadline = deadline
        self._closed = False
        self._dummy = _unmatchable_hash()

    async def hash(self, password: str) -> str:
        """The hash to store, with its parameters and a new salt (PHC string format).

        Raises:
            ValueError: the password is longer than any that the rules accept.
            Unavailable: too many are waiting, or the deadline has passed.
        """
        if len(password) > LONGEST_RAW:
            raise ValueError("a password that breaks the rules cannot be hashed")
        # Anybody may have passwords hashed, by signing up: half of the places stay free for those who log in.
        if self._hashing >= (self._most_callers + 1) // 2:
            raise Unavailable("Too many passwords are being hashed at the moment")
        self._hashing += 1
        try:
            return await self._run(self._argon2.hash, _bytes(password))
        finally:
            self._hashing -= 1

    async def verify(self, stored_hash: str | None, password: str) -> bool:
        """Whether this is the password that was hashed.

        For None (no such account) the answer is False after the time that a wrong password takes. A stored
        hash that is corrupt matches nothing and is logged.

        Raises:
            Unavailable: too many are waiting, or the deadline has passed.
        """
        # Nobody has such a password, whatever the account: no time is spent, so none can tell.
        if len(password) > LONGEST_RAW:
            return False
        candidate = self._dummy if stored_hash is None else stored_hash
        matches = await self._run(self._check, candidate, _bytes(password))
        return matches and stored_hash is not None

    def needs_rehash(self, stored_hash: str) -> bool:
        """Whether a hash was made with other parameters than are used today."""
        try:
            return self._argon2.check_needs_rehash(stored_hash)
        except argon2.exceptions.InvalidHashError:
            return True

    def close(self) -> None:
        """Take no more jobs; those that were accepted are finished, then the threads end."""
        self._closed = True
        self._threads.shutdown(wait=False)

    def _check(self, stored_hash: str, password: bytes) -> bool:
        try:
            return self._argon2.verify(stored_hash, password)
        except argon2.exceptions.VerifyMismatchError:
            return False
        except (argon2.exceptions.InvalidHashError, argon2.exceptions.VerificationError) as error:
            logger.error("a stored password hash cannot be checked: %s", error)
            return False

    async def _run[*Args, Result](self, job: Callable[[*Args], Result], *args: *Args) -> Result:
        """Do a job in a thread, within the bounds."""
        if self._closed or self._callers >= self._most_callers:
            raise Unavailable("Too many passwords are being checked at the moment")
        self._callers += 1
        try:
            async with asyncio.timeout(self._deadline):
                # Giving up cancels the job in the executor's queue as well, which then skips it.
                return await asyncio.get_running_loop().run_in_executor(self._threads, job, *args)
        except TimeoutError:
            raise Unavailable("Checking a password took too long") from None
        finally:
            self._callers -= 1


def _bytes(password: str) -> bytes:
    # Lone surrogates never come by HTTP, but they may by command line; they are no reason to fall over.
    return normalise(password).encode("utf-8", "surrogatepass")


def _unmatchable_hash() -> str:
    """A hash with today's parameters that nobody knows a password for, made without hashing one."""
    salt, digest = (base64.b64encode(os.urandom(size)).rstrip(b"=").decode() for size in (16, 32))
    return f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${digest}"
