"""Counters for the port's contract: every test that uses `nodes` runs in memory, in a mirror and on a real Valkey."""

from collections.abc import AsyncGenerator

import pytest

from kingpost.auth.throttling.counters import AttemptCounters
from kingpost.auth.throttling.memory import MemoryCounters
from kingpost.auth.throttling.mirror import Mirror
from kingpost.auth.throttling.valkey import TIMEOUT, ValkeyCounters
from tests.servers import ValkeyServer

LONG_TIMEOUT = 30.0
"""A time-out in seconds that no reply exceeds, even on a busy machine."""


async def two_nodes(valkey_server: ValkeyServer, time_out: float) -> AsyncGenerator[list[ValkeyCounters]]:
    """The body of a fixture: two nodes that share an empty Valkey."""
    await valkey_server.empty()
    nodes = [ValkeyCounters(valkey_server.url, time_out) for _ in range(2)]
    for node in nodes:
        await node.start()
    yield nodes
    for node in nodes:
        await node.close()


@pytest.fixture
async def valkey_nodes(valkey_server: ValkeyServer) -> AsyncGenerator[list[ValkeyCounters]]:
    """Two nodes that share an empty Valkey, and that time out as in production."""
    async for nodes in two_nodes(valkey_server, TIMEOUT):
        yield nodes


@pytest.fixture
async def unhurried_nodes(valkey_server: ValkeyServer) -> AsyncGenerator[list[ValkeyCounters]]:
    """Two nodes that share an empty Valkey, with a long time-out, for tests without an outage."""
    async for nodes in two_nodes(valkey_server, LONG_TIMEOUT):
        yield nodes


@pytest.fixture(params=["memory", "mirror", "valkey"])
def nodes(request: pytest.FixtureRequest) -> list[AttemptCounters]:
    """Two nodes with the same counters. In memory it is the same node twice."""
    if request.param == "memory":
        return [MemoryCounters()] * 2
    if request.param == "mirror":
        return [Mirror()] * 2
    nodes: list[AttemptCounters] = request.getfixturevalue("unhurried_nodes")
    return nodes


@pytest.fixture
def counters(nodes: list[AttemptCounters]) -> AttemptCounters:
    """One of the two nodes."""
    return nodes[0]
