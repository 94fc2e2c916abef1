"""Limits for the port's contract: every test that uses `nodes` runs in memory and on a real Valkey."""

from collections.abc import AsyncGenerator

import pytest

from kingpost.limits import Limits
from kingpost.limits.memory import MemoryLimits
from kingpost.limits.valkey import ValkeyLimits
from tests.servers import ValkeyServer


@pytest.fixture
async def valkey_nodes(valkey_server: ValkeyServer) -> AsyncGenerator[list[ValkeyLimits]]:
    """Two nodes that share an empty Valkey."""
    await valkey_server.empty()
    nodes = [ValkeyLimits(valkey_server.url, MemoryLimits()) for _ in range(2)]
    for node in nodes:
        await node.start()
    yield nodes
    for node in nodes:
        await node.close()


@pytest.fixture(params=["memory", "valkey"])
def nodes(request: pytest.FixtureRequest) -> list[Limits]:
    """Two nodes with the same counters. In memory there is only one, twice."""
    if request.param == "memory":
        return [MemoryLimits()] * 2
    nodes: list[Limits] = request.getfixturevalue("valkey_nodes")
    return nodes


@pytest.fixture
def limits(nodes: list[Limits]) -> Limits:
    """One of the two nodes."""
    return nodes[0]
