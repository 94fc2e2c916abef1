"""The port of the throttle: counts failed attempts and computes how long the next one has to wait.

Each method is atomic: of any number of concurrent callers, on one node or on several that share the counters,
exactly as many are let through as the back-off allows. No method raises because a server is down. An
implementation that shares counters then counts for its own process, so that an outage neither refuses every
attempt nor lets every attempt through. Keys are opaque: callers hash what they stand for.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

LONGEST_DELAY = 15 * 60.0
"""Longest delay, in seconds. It bounds the back-off, so that no account is ever locked out."""
FORGOTTEN_AFTER = 60 * 60.0
"""Seconds without a counted attempt after which a counter expires."""


class Backoff(msgspec.Struct, frozen=True):
    """An exponential back-off.

    `free` attempts have no delay between them. The next one has to wait for `delay` seconds, and each further
    attempt doubles the delay.
    """

    free: int
    delay: float

    def delay_after(self, count: int) -> float:
        """Return the seconds between the attempt that raised a counter to `count` and the next."""
        if count < self.free:
            return 0.0
        # Bound the exponent: a power beyond the range of floats would raise OverflowError.
        return min(LONGEST_DELAY, self.delay * 2.0 ** min(count - self.free, 64))

    def leaked(self, count: int, elapsed: float) -> int:
        """Return what is left of a leaking count, `elapsed` seconds after the last attempt.

        Below `free` it loses one attempt per `delay` seconds, and from there on one per `delay * free`.
        """
        slow = self.delay * self.free
        lost = min(max(0, count - self.free + 1), int(elapsed / slow))
        count, elapsed = count - lost, elapsed - lost * slow
        return max(0, count - int(elapsed / self.delay)) if count < self.free else count

    def for_clients(self, clients: int) -> "Backoff":
        """Return the back-off of a counter that stands for several clients: as many more free, and as much faster."""
        return Backoff(self.free * clients, self.delay / clients)


class Network(msgspec.Struct, frozen=True):
    """The counter of a network that a client address belongs to.

    It loses attempts with time (`Backoff.leaked`): many people may share a network, and the mistakes of one must not
    add up for the others. `clients` is the number of clients that it counts as (`Backoff.for_clients`).
    """

    key: str
    clients: int = 1


class ClientKeys(msgspec.Struct, frozen=True):
    """Keys of an attempt whose client address is known."""

    networks: tuple[Network, ...]
    """The networks of the client address, one inside of another."""
    pair: str
    """The counter of the account at this address. It takes the place of the account's after a success."""


class AttemptKeys(msgspec.Struct, frozen=True):
    """What an attempt may be counted under."""

    account: str
    client: ClientKeys | None = None

    def counted(self, own: str) -> tuple[str, ...]:
        """Return the keys that an attempt is counted under. `own` is the account's or the pair's: see `Begun`."""
        return (own,) if self.client is None else (own, *[network.key for network in self.client.networks])

    def backoffs(self, backoff: Backoff) -> tuple[Backoff, ...]:
        """Return the back-offs of the counters that an attempt is counted under, from that of an account."""
        networks = () if self.client is None else self.client.networks
        return (backoff, *[backoff.for_clients(network.clients) for network in networks])


class Begun(msgspec.Struct, frozen=True):
    """The answer to `begin`."""

    wait: float
    """Seconds until the attempt may be made, or 0 if it was counted and may be made now."""
    own: str
    """The key that stands for the account: that of the pair if it is remembered, and else the account's."""


class AttemptCounters(Protocol):
    """Counters of attempts, each under a key, and a set of pairs that are remembered for a time."""

    async def begin(self, keys: AttemptKeys, backoff: Backoff) -> Begun:
        """Count an attempt under `keys.counted(own)`, unless one of these keys has to wait.

        It is counted under all of them or, if `wait` is not 0, under none. Of N concurrent callers on a new counter
        exactly `backoff.free` are let through.
        """
        ...

    async def undo(self, keys: Sequence[str]) -> None:
        """Take back one attempt under each key, with the delay that it caused.

        A counter never falls below zero. One that has expired or was reset in the meantime is left alone.
        """
        ...

    async def succeed(self, own: str, client: ClientKeys | None, usual_for: int) -> None:
        """Record that an attempt has succeeded.

        Removes the counter `own`, takes back one attempt from the counter of each network, and remembers the pair for
        `usual_for` seconds. The counters of networks are not removed, because an attacker could log in to an account
        of their own between two attempts at another.
        """
        ...

    async def reset(self, keys: Sequence[str]) -> None:
        """Remove the counter under each key."""
        ...
