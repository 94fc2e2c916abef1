"""The throttle of attempts at passwords and codes. It slows attackers down, and never locks an account.

An attempt is counted as a failure before the password is checked, and taken back if it succeeds, so that
concurrent attempts get no further than sequential ones. A number of failures is free for each account and for
each client address. After that each failure doubles the delay until the next attempt, up to 15 minutes. Attempts
within the delay are refused without a check and are not counted.

After a login, the pair of account and client address has a counter of its own for a month, in place of the
account's. Failures from other addresses then do not delay the owner at the usual address.
"""

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from kingpost.auth.throttling.counters import AttemptCounters, AttemptKeys, Backoff, ClientKeys
from kingpost.auth.throttling.pending import PendingAttempts
from kingpost.problems import MfaRequired, RateLimited, Unavailable
from kingpost.secret import MasterSecret
from kingpost.settings import Rate

FREE_CODES = 5
"""Wrong codes of a second factor that are free: of a million possible ones three are right at any moment."""
CODE_DELAY = 6.0
"""First delay of codes, in seconds, where logins are not limited. Codes are too short to be guessed at will."""
MAILS = Backoff(free=10, delay=60.0)
"""Back-off of mails that a caller has sent to addresses of their choice, which may be strangers'."""
USUAL_FOR = 30 * 24 * 60 * 60
"""Seconds after a login for which the client address is a usual one of the account."""
QUEUE_TIMEOUT = 5.0
"""Longest wait, in seconds, for concurrent attempts on the same key to finish before answering 429."""
INCONCLUSIVE = (Unavailable, RateLimited, MfaRequired)
"""Errors that end an attempt as neither a failure nor a success. It is taken back, and earlier failures remain.

`Unavailable`: the password was not checked. `RateLimited`: an attempt within this one was refused. `MfaRequired`: the
password was right, but the login is only half done.
"""


class Attempt:
    """The outcome of an attempt. It is a failure until `succeed` is called."""

    def __init__(self) -> None:
        self.has_succeeded = False

    def succeed(self) -> None:
        """Record that the password or code was right. It takes effect when the `async with` block ends."""
        self.has_succeeded = True


class Throttle:
    """Decides whether an attempt may be made now, and counts it.

    Use it as `async with throttle.password(…) as attempt:`, check the password in the block, and call
    `attempt.succeed()` if it is right. Entering the block raises `RateLimited` if the caller has to wait. When the
    block ends, an attempt that succeeded is taken back together with the earlier failures of the account. One that
    ended with an error of `INCONCLUSIVE` is taken back alone. Any other attempt remains counted as a failure.
    """

    def __init__(self, counters: AttemptCounters, rate: Rate | None, secret: MasterSecret) -> None:
        """Create a throttle.

        Args:
            counters: where attempts are counted.
            rate: `rate.count` failures are free, and the first delay is `rate.seconds / rate.count`. None turns the
                throttle of passwords off. The throttle of codes stays on.
            secret: keys of counters are derived from it.
        """
        self._counters = counters
        self._passwords = Backoff(rate.count, rate.seconds / rate.count) if rate else None
        self._codes = Backoff(FREE_CODES, self._passwords.delay if self._passwords else CODE_DELAY)
        self._secret = secret.derive("throttling")
        self._pending = PendingAttempts()

    def password(self, email_key: str, client_address: str | None) -> AbstractAsyncContextManager[Attempt]:
        """Count an attempt to log in, whether the account exists or not.

        Args:
            email_key: the account's e-mail address in the form in which addresses are compared.
            client_address: the IP address of the client, or None if it is unknown.
        """
        account = self._key("account", email_key)
        if client_address is None:
            return self._attempt(self._passwords, AttemptKeys(account))
        network = network_of(client_address)
        client = ClientKeys(address=self._key("address", network), pair=self._key("usual", email_key, network))
        return self._attempt(self._passwords, AttemptKeys(account, client))

    def proof(self, user_id: str) -> AbstractAsyncContextManager[Attempt]:
        """Count an attempt of a signed-in caller to prove ownership of the account by its password.

        It has a counter of its own, so that failed logins of strangers do not delay a session.
        """
        return self._attempt(self._passwords, AttemptKeys(self._key("proof", user_id)))

    def code(self, user_id: str) -> AbstractAsyncContextManager[Attempt]:
        """Count an attempt at a code of a second factor."""
        return self._attempt(self._codes, AttemptKeys(self._key("code", user_id)))

    async def count_mail(self, user_id: str) -> None:
        """Count a mail that the server sends at a caller's request to an address of the caller's choice.

        Raises:
            RateLimited: the caller has to wait before the next one.
        """
        begun = await self._counters.begin(AttemptKeys(self._key("mail", user_id)), MAILS)
        if begun.wait > 0:
            detail = "There were too many changes of the address: wait before the next"
            raise RateLimited(detail, retry_after=math.ceil(begun.wait))

    async def forget(self, email_key: str, client_address: str | None = None) -> None:
        """Remove the failed logins of an account that has a new password, and those from this client address."""
        keys = [self._key("account", email_key)]
        if client_address is not None:
            keys.append(self._key("usual", email_key, network_of(client_address)))
        await self._counters.reset(keys)

    @contextlib.asynccontextmanager
    async def _attempt(self, backoff: Backoff | None, keys: AttemptKeys) -> AsyncIterator[Attempt]:
        attempt = Attempt()
        if backoff is None:
            yield attempt
            return
        own = await self._begin(backoff, keys)
        counted = keys.counted(own)
        with self._pending.including(counted):
            try:
                yield attempt
            except INCONCLUSIVE:
                if not attempt.has_succeeded:
                    await self._counters.undo(counted)
                raise
            finally:
                if attempt.has_succeeded:
                    await self._counters.succeed(own, keys.client, USUAL_FOR)

    async def _begin(self, backoff: Backoff, keys: AttemptKeys) -> str:
        """Count an attempt as a failure, and return the key that stands for the account.

        Raises:
            RateLimited: the account or the client address has to wait.
        """
        until = asyncio.get_running_loop().time() + QUEUE_TIMEOUT
        # Attempts in progress are counted as failures, so that many right logins at once may be in each other's
        # way. Wait for their outcome before refusing.
        while (begun := await self._counters.begin(keys, backoff)).wait > 0:
            if not await self._pending.wait_for_one(keys.counted(begun.own), until):
                seconds = math.ceil(begun.wait)
                raise RateLimited("There were too many failed tries: wait before the next", retry_after=seconds)
        return begun.own

    def _key(self, *parts: str) -> str:
        """Return the key of a counter. Without the secret it reveals nothing about the parts."""
        text = "\0".join(parts).encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, text, hashlib.sha256).hex()


def network_of(client_address: str) -> str:
    """Return what is counted as one client: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ipaddress.ip_address(client_address)
    except ValueError:
        return client_address
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{int(address) >> 64:x}/64"
