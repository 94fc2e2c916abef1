"""Counters for the port's contract: every test that uses `nodes` runs in memory and on a real Valkey."""

from collections.abc import AsyncGenerator

import pytest

from kingpost.auth.throttling.counters import AttemptCounters
from kingpost.auth.throttling.memory import MemoryCounters
from kingpost.auth.throttling.valkey import ValkeyCounters
from tests.servers import ValkeyServer


@pytest.fixture
async def valkey_nodes(valkey_server: ValkeyServer) -> AsyncGenerator[list[ValkeyCounters]]:
    """Two nodes that share an empty Valkey."""
    await valkey_server.empty()
    nodes = [ValkeyCounters(valkey_server.url, MemoryCounters()) for _ in range(2)]
    for node in nodes:
        await node.start()
    yield nodes
    for node in nodes:
        await node.close()


@pytest.fixture(params=["memory", "valkey"])
def nodes(request: pytest.FixtureRequest) -> list[AttemptCounters]:
    """Two nodes with the same counters. In memory there is only one, twice."""
    if request.param == "memory":
        return [MemoryCounters()] * 2
    nodes: list[AttemptCounters] = request.getfixturevalue("valkey_nodes")
    return nodes


@pytest.fixture
def counters(nodes: list[AttemptCounters]) -> AttemptCounters:
    """One of the two nodes."""
    return nodes[0]
