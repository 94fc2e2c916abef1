"""Forged API keys of every known kind are refused without a database query."""

import time
from collections.abc import Callable

import pytest

from kingpost.auth.api_keys import key_format
from tests.api.machines import ME
from tests.api.stack import Stack, assert_problem


def wrong_checksum() -> str:
    """A key in the format of our API keys, but with a wrong checksum."""
    key = key_format.new_key()
    return key[:10] + ("A" if key[10] != "A" else "B") + key[11:]


FORGERIES: dict[str, Callable[[], str]] = {
    "with a wrong checksum": wrong_checksum,
    "with its checksum missing": lambda: key_format.new_key()[:-6],
    "with an extra character": lambda: key_format.new_key() + "0",
    "with spaces": lambda: "kp_ " + key_format.new_key()[4:],
    "in upper case": lambda: key_format.new_key().upper(),
    "overlong": lambda: "kp_" + "A" * 4000,
    "prefix only": lambda: "kp_",
}
"""Every kind of key that is refused because of its format."""


@pytest.mark.parametrize("kind", FORGERIES)
async def test_a_forged_key_is_refused_without_a_query(stack: Stack, queries: list[str], kind: str) -> None:
    assert_problem(await stack.client(FORGERIES[kind]()).get(ME), 401, "unauthenticated")
    assert queries == []


async def test_a_key_of_one_megabyte_is_refused_without_a_query(stack: Stack, queries: list[str]) -> None:
    started = time.process_time()
    response = await stack.client("kp_" + "A" * 2**20).get(ME)
    assert_problem(response, 431, "headers-too-large")
    assert queries == []
    assert time.process_time() - started < 1


async def test_a_key_sent_as_a_refresh_token_is_refused_without_a_query(stack: Stack, queries: list[str]) -> None:
    response = await stack.client().post("/api/v1/auth/refresh", json={"refresh_token": wrong_checksum()})
    assert_problem(response, 401, "unauthenticated")
    assert queries == []
