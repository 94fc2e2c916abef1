"""Collect garbage without holding the event loop for long."""

import asyncio
import gc

THRESHOLDS = (2_000, 10, 1_000_000)
"""Objects until a collection of the youngest ones, then numbers of collections until one of older ones.

The last number means that Python never starts a full collection by itself. It would visit every object, and a large
document that is being decoded has half a million."""
INTERVAL = 60
"""Seconds between two full collections."""


def start(loop: asyncio.AbstractEventLoop) -> None:
    """Start to collect garbage in this way. Exempt everything that exists, because it will exist until the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    loop.call_later(INTERVAL, _collect, loop)


def _collect(loop: asyncio.AbstractEventLoop) -> None:
    gc.collect()
    loop.call_later(INTERVAL, _collect, loop)
