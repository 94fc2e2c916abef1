"""The throttle of attempts at passwords and codes. It slows attackers down, and never locks an account.

An attempt is counted as a failure before the password is checked, and taken back if it succeeds, so that
concurrent attempts get no further than sequential ones. A number of failures is free for each account and for
each client address, and several times as many for each /48 of IPv6 addresses. After that each failure doubles the
delay until the next attempt, up to 15 minutes. Attempts within the delay are refused without a check and are not
counted.

After a login, the pair of account and client address has a counter of its own for a month, in place of the
account's. Failures from other addresses then do not delay the owner at the usual address.
"""

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from kingpost.auth.throttling.counters import AttemptCounters, AttemptKeys, Backoff, ClientKeys, Network
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
CODES_OF_A_NETWORK = 2
"""How many times the free codes of an account a network has: as many as free passwords by default."""
CLIENTS_OF_A_SITE = 16
"""How many clients a /48 of IPv6 addresses counts as: more than a home or an office needs for its mistakes."""
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
                throttle of passwords off, and that of codes for networks. Codes of an account stay throttled.
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
        client = self._client_keys("address", "usual", email_key, client_address)
        return self._attempt(self._passwords, AttemptKeys(self._key("account", email_key), client))

    def proof(self, credential_id: str, client_address: str | None) -> AbstractAsyncContextManager[Attempt]:
        """Count an attempt of a signed-in caller to prove ownership of the account by its password.

        Each session has a counter of its own, so that neither failed logins of strangers nor the wrong proofs of a
        thief in another session delay the owner. A new session takes the password, so this gives no more attempts.

        Args:
            credential_id: the session or API key of the caller.
            client_address: the IP address of the client, or None if it is unknown.
        """
        client = self._client_keys("proof-address", "proof-usual", credential_id, client_address)
        return self._attempt(self._passwords, AttemptKeys(self._key("proof", credential_id), client))

    def code(self, user_id: str, client_address: str | None) -> AbstractAsyncContextManager[Attempt]:
        """Count an attempt at a code of a second factor.

        As for passwords, the attempts of strangers who know the password do not delay the owner at a usual address.
        """
        client = self._client_keys("code-address", "code-usual", user_id, client_address, CODES_OF_A_NETWORK)
        if client is not None and self._passwords is None:
            # The operator has turned the limit off, so networks are not limited. Accounts stay protected.
            client = ClientKeys((), client.pair)
        return self._attempt(self._codes, AttemptKeys(self._key("code", user_id), client))

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
            keys.append(self._key("usual", email_key, networks_of(client_address)[0].key))
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

    def _client_keys(
        self, network_kind: str, pair_kind: str, account: str, client_address: str | None, clients: int = 1
    ) -> ClientKeys | None:
        """Return the keys of a client that tries an account, or None if its address is unknown.

        `clients` is the number of clients that its network counts as.
        """
        if client_address is None:
            return None
        networks = networks_of(client_address)
        counted = [Network(self._key(network_kind, network.key), clients * network.clients) for network in networks]
        return ClientKeys(tuple(counted), self._key(pair_kind, account, networks[0].key))

    def _key(self, *parts: str) -> str:
        """Return the key of a counter. Without the secret it reveals nothing about the parts."""
        text = "\0".join(parts).encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, text, hashlib.sha256).hex()


def networks_of(client_address: str) -> Sequence[Network]:
    """Return the networks that a client is counted under: first the one that is the client, then wider ones.

    It is an IPv4 address, or the /64 and the /48 of an IPv6 address, in any notation. Providers
    give a customer a /64, a /56 or a /48, so that counting the /64 alone would give a /48 65,536 times the attempts.
    """
    try:
        address = ipaddress.ip_address(client_address)
    except ValueError:
        return [Network(client_address)]
    if isinstance(address, ipaddress.IPv4Address):
        return [Network(str(address))]
    if address.ipv4_mapped is not None:
        return [Network(str(address.ipv4_mapped))]
    bits = int(address)
    return [Network(f"{bits >> 64:x}/64"), Network(f"{bits >> 80:x}/48", CLIENTS_OF_A_SITE)]
