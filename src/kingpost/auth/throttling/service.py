"""Slowing down whoever attempts passwords and codes, without locking anybody out.

An attempt is counted before it is looked at, and taken back when it was right: a thousand attempts at once get
no further than a thousand in a row. So many failures are free for each account and for each client address;
after that each one doubles the time until the next. Guesses within that time are refused unseen and count
for nothing, so there is always a next one, after a quarter of an hour at the latest.

Where an account has logged in from an address within the last month, that pair has a counter of its own in
place of the account's: whoever attempts from elsewhere does not delay the owner at the usual place.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import math
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from kingpost.auth.throttling.counters import AttemptCounters, Backoff
from kingpost.auth.throttling.pending import PendingAttempts
from kingpost.problems import RateLimited, Unavailable
from kingpost.secret import MasterSecret
from kingpost.settings import Rate

FREE_CODES = 5
"""Wrong codes of a second factor that are free: of a million possible ones three are right at any moment."""
CODE_DELAY = 6.0
"""Seconds of the first delay of codes where logins are not limited. Codes are too short to be guessed at will."""
MAILS = Backoff(free=10, delay=60.0)
"""Back-off of mails that a caller has sent to addresses of their choice, which may be strangers'."""
USUAL_FOR = 30 * 24 * 60 * 60
"""Seconds for which an address is a usual one of an account after a login."""
QUEUE_TIMEOUT = 5.0
"""Longest wait, in seconds, for concurrent attempts on the same key to finish before answering 429."""


class Attempt:
    """An attempt that has been counted as wrong until it is known to be right.

    Used as `async with await guessing.password(…) as attempt:`, with `await attempt.succeeded()` inside as soon
    as the attempt is known to be right. Leaving the block by `Unavailable`, or by the `RateLimited` of another
    attempt within this one, takes it back: it has not been refused. Leaving it in any other way leaves it counted.
    """

    def __init__(
        self,
        counters: AttemptCounters,
        pending: PendingAttempts,
        own: Sequence[str],
        shared: Sequence[str],
        usual: str | None = None,
    ) -> None:
        """Take the keys under which it was counted; `own` are the account's, `usual` is remembered on success."""
        self._counters = counters
        self._pending = pending
        self._own = own
        self._shared = shared
        self._usual = usual
        self._is_over = False

    async def succeeded(self) -> None:
        """It was right: forget the account's failures, and take this attempt back from the counter of its address.

        That one is not reset: a guesser could log in to an account of its own in between.
        """
        if self._own:
            await self._counters.reset(self._own)
        if self._shared:
            await self._counters.undo(self._shared)
        if self._usual:
            await self._counters.remember(self._usual, USUAL_FOR)
        self._end()

    async def withdraw(self) -> None:
        """It was none: nobody has looked at it."""
        await self._counters.undo([*self._own, *self._shared])
        self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_over:
            return
        if isinstance(error, Unavailable | RateLimited):
            await self.withdraw()
        self._end()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._pending.remove([*self._own, *self._shared])


class Throttle:
    """Decides whether an attempt may be made now, and keeps count."""

    def __init__(self, counters: AttemptCounters, rate: Rate | None, secret: MasterSecret) -> None:
        """`rate` says how many failures are free, and in its time spread evenly how long the first delay is.

        None turns the limit of passwords off; the one of codes stays.
        """
        self._counters = counters
        self._passwords = Backoff(rate.count, rate.seconds / rate.count) if rate else None
        self._codes = Backoff(FREE_CODES, self._passwords.delay if self._passwords else CODE_DELAY)
        self._secret = secret.derive("throttling")
        self._pending = PendingAttempts()

    async def password(self, email_key: str, client_address: str | None) -> Attempt:
        """Count an attempt of a password at a login, whether there is such an account or not.

        Args:
            email_key: what was given as the account's address, as it is compared.
            client_address: where the attempt comes from, if that is known.

        Raises:
            RateLimited: the account or the client address has to wait.
        """
        if self._passwords is None:
            return Attempt(self._counters, self._pending, (), ())
        if client_address is None:
            return await self._begin(self._passwords, [self._key("account", email_key)])
        network = network_of(client_address)
        usual = self._key("usual", email_key, network)
        is_usual = await self._counters.is_remembered(usual)
        own = usual if is_usual else self._key("account", email_key)
        return await self._begin(self._passwords, [own], [self._key("address", network)], usual)

    async def proof(self, user_id: str) -> Attempt:
        """Count an attempt of the password by which somebody who is signed in proves to be the account's owner.

        It has a counter of its own, so that failed logins of strangers do not reach into a session.

        Raises:
            RateLimited: the account has to wait.
        """
        if self._passwords is None:
            return Attempt(self._counters, self._pending, (), ())
        return await self._begin(self._passwords, [self._key("proof", user_id)])

    async def code(self, user_id: str) -> Attempt:
        """Count an attempt of a second factor's code.

        Raises:
            RateLimited: the account has to wait.
        """
        return await self._begin(self._codes, [self._key("code", user_id)])

    async def count_mail(self, user_id: str) -> None:
        """Count a mail that the server sends at a caller's request to an address of the caller's choice.

        Raises:
            RateLimited: the caller has to wait before the next one.
        """
        wait = await self._counters.begin([self._key("mail", user_id)], MAILS)
        if wait > 0:
            detail = "There were too many changes of the address: wait before the next"
            raise RateLimited(detail, retry_after=math.ceil(wait))

    async def forget(self, email_key: str, client_address: str | None = None) -> None:
        """Forget the failed logins of an account (and those from one of its usual addresses): it has a new password."""
        keys = [self._key("account", email_key)]
        if client_address is not None:
            keys.append(self._key("usual", email_key, network_of(client_address)))
        await self._counters.reset(keys)

    async def _begin(
        self, backoff: Backoff, own: Sequence[str], shared: Sequence[str] = (), usual: str | None = None
    ) -> Attempt:
        keys = [*own, *shared]
        until = asyncio.get_running_loop().time() + QUEUE_TIMEOUT
        # Guesses under way are counted as wrong ones. While there are any, it may be only their number that is
        # in the way: wait for what becomes of them, since many right logins at once are no attack.
        while (wait := await self._counters.begin(own, backoff, shared)) > 0:
            if not await self._pending.wait_for_one(keys, until):
                seconds = math.ceil(wait)
                raise RateLimited("There were too many failed tries: wait before the next", retry_after=seconds)
        self._pending.add(keys)
        return Attempt(self._counters, self._pending, own, shared, usual)

    def _key(self, *parts: str) -> str:
        """What a counter is called: it tells who knows the counters, but not the secret, nothing of the parts."""
        text = "\0".join(parts).encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, text, hashlib.sha256).hex()


def network_of(client_address: str) -> str:
    """What is counted as one client: an IPv4 address, or the /64 that an IPv6 client has to itself."""
    try:
        address = ipaddress.ip_address(client_address)
    except ValueError:
        return client_address
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{int(address) >> 64:x}/64"
