"""Documents survive PostgreSQL's jsonb."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kingpost.storage.database import Query
from kingpost.storage.postgresql.database import PostgreSQLDatabase
from kingpost.storage.postgresql.jsonb import jsonb_text

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.sampled_from(
    ["1e300", '"1e300', "\\", '\\"', '\\\\"1e20', "1E5,"]
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1e16, -1e16, 1e22, 1e300, -1.5e300, 1.7976931348623157e308, 5e-324, 2.0**53, 1e-7])
    | texts
)
documents = st.recursive(leaves, lambda v: st.lists(v, max_size=5) | st.dictionaries(texts, v, max_size=5))


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal and of the same number type."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database(postgresql_url: str) -> AsyncGenerator[PostgreSQLDatabase]:
    database = await PostgreSQLDatabase.open(postgresql_url)
    yield database
    await database.close()


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=documents)
@pytest.mark.asyncio(loop_scope="module")
async def test_the_server_returns_a_document_unchanged(database: PostgreSQLDatabase, value: Any) -> None:
    sent = msgspec.json.encode(value).decode()
    rows = await database.read(Query("SELECT $1::jsonb", (sent,)))
    assert same(json.loads(rows[0][0]), value)
    again = await database.read(Query("SELECT $1::jsonb", (rows[0][0],)))
    assert again[0][0] == rows[0][0]


@given(value=documents)
def test_only_the_notation_of_numbers_changes(value: Any) -> None:
    text = json.dumps(value)
    assert same(json.loads(jsonb_text(text)), value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a":"1e300","b":1e20}', '{"a":"1e300","b":100000000000000000000.0}'),
        ('["\\"1e20",-1.5E+17]', '["\\"1e20",-150000000000000000.0]'),
        ("[1e5,1e-5,-2.5e3]", "[1e5,1e-5,-2.5e3]"),
        ("[0e99999,1e-99999,-0e0]", "[0.0,0.0,0.0]"),
        ("12345678901234567890", "12345678901234567890"),
        ("9007199254740992e0", "9007199254740992.0"),
    ],
)
def test_examples(text: str, expected: str) -> None:
    assert jsonb_text(text) == expected
