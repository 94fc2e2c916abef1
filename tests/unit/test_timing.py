"""The time checks that other tests use."""

import asyncio
import unicodedata

import pytest

from tests.timing import assert_linear, at_once


def test_quadratic_work_is_detected() -> None:
    with pytest.raises(AssertionError, match="8 times"):
        # Ordering combining marks is quadratic in their number.
        assert_linear(lambda size: unicodedata.normalize("NFC", "a" + "\u0301\u0316" * size), 200)


def test_linear_work_is_accepted() -> None:
    assert_linear(lambda size: sum(range(size)), 100_000)


def test_work_that_waits_is_detected() -> None:
    async def work(seconds: float | None) -> str:
        if seconds is not None:
            await asyncio.sleep(seconds)
        return "done"

    assert at_once(work(None)) == "done"
    with pytest.raises(AssertionError, match="waits"):
        at_once(work(0))
