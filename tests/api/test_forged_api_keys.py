"""Forged API keys of every known kind are refused, and no question to the database is spent on them."""

import time
from collections.abc import Callable

import pytest

from kingpost.auth.api_keys import key_format
from tests.api.machines import ME
from tests.api.stack import Stack, assert_problem


def wrong_checksum() -> str:
    """What looks like one of our API keys, but whose checksum is not that of the rest."""
    key = key_format.new_key()
    return key[:10] + ("A" if key[10] != "A" else "B") + key[11:]


FORGERIES: dict[str, Callable[[], str]] = {
    "with a wrong checksum": wrong_checksum,
    "with its checksum cut off": lambda: key_format.new_key()[:-6],
    "with a character too many": lambda: key_format.new_key() + "0",
    "with spaces": lambda: "kp_ " + key_format.new_key()[4:],
    "in capitals": lambda: key_format.new_key().upper(),
    "without an end": lambda: "kp_" + "A" * 4000,
    "of nothing": lambda: "kp_",
}
"""Every kind that is refused by its looks."""


@pytest.mark.parametrize("kind", FORGERIES)
async def test_a_forgery_is_refused_without_a_look_up(stack: Stack, asked: list[str], kind: str) -> None:
    assert_problem(await stack.client(FORGERIES[kind]()).get(ME), 401, "unauthenticated")
    assert asked == []


async def test_a_key_of_a_megabyte_is_refused_without_a_look_up(stack: Stack, asked: list[str]) -> None:
    started = time.process_time()
    response = await stack.client("kp_" + "A" * 2**20).get(ME)
    assert_problem(response, 431, "headers-too-large")
    assert asked == []
    assert time.process_time() - started < 1


async def test_a_key_in_the_place_of_a_refresh_token_costs_no_look_up(stack: Stack, asked: list[str]) -> None:
    response = await stack.client().post("/api/v1/auth/refresh", json={"refresh_token": wrong_checksum()})
    assert_problem(response, 401, "unauthenticated")
    assert asked == []
