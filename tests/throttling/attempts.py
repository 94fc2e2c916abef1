"""Helpers that make attempts for the tests of counters."""

import uuid

from kingpost.auth.throttling.counters import AttemptCounters, AttemptKeys, Backoff, ClientKeys, Network


def keys(account: str, address: str | None = None) -> AttemptKeys:
    """Return the keys of an attempt at an account, from an address or from an unknown one."""
    return AttemptKeys(account, None if address is None else client(account, address))


def client(account: str, address: str) -> ClientKeys:
    """Return the keys of a client that tries an account."""
    return ClientKeys((Network(address),), pair=f"{account} at {address}")


def site_client(account: str, address: str, site: str, clients: int) -> AttemptKeys:
    """Return the keys of a client in a wider network, which counts as several clients."""
    return AttemptKeys(account, ClientKeys((Network(address), Network(site, clients)), pair=f"{account} at {address}"))


async def attempt(counters: AttemptCounters, account: str, backoff: Backoff, address: str | None = None) -> float:
    """Make an attempt, and return the seconds to wait: 0 if it was allowed."""
    return (await counters.begin(keys(account, address), backoff)).wait


async def attempt_from(counters: AttemptCounters, address: str, backoff: Backoff) -> float:
    """Make an attempt at a new account, and return the seconds to wait."""
    return await attempt(counters, uuid.uuid4().hex, backoff, address)


async def is_usual(counters: AttemptCounters, account: str, address: str) -> bool:
    """Return whether the counters remember the pair of an account and an address. Counts an attempt under it."""
    return (await counters.begin(keys(account, address), Backoff(free=100, delay=0.01))).own != account
