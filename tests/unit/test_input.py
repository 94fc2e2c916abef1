"""Messages about invalid bodies and query strings: they say what is allowed, and never repeat the rejected value."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from kingpost.http.app.fields import END
from kingpost.http.app.input import parse_query, schema_faults
from kingpost.problems import InvalidRequest

SECRET = "hunter2-hunter2"


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    word: str


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    short: Annotated[str, Meta(max_length=3)]
    long: Annotated[str, Meta(min_length=20)] | None = None
    letters: Annotated[str, Meta(pattern=f"^[a-c]+{END}")] = "a"
    kind: Literal["x", "y"] = "x"
    some: Annotated[tuple[int, ...], Meta(min_length=1, max_length=2, extra_json_schema={"uniqueItems": True})] = (1,)
    inner: Inner = Inner("")
    maybe: Inner | None = None


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    page: Annotated[int, Meta(ge=1)] | None = None
    count: Literal["exact", "none"] | None = None
    cursor: Annotated[str, Meta(max_length=3)] = ""
    type: Annotated[str, Meta(pattern=f"^[a-c]+{END}", description="Described.")] | None = None
    sort: Annotated[str, Meta(max_length=9, pattern="^a")] = "a"
    any: bool = True


KNOWN = "short, long, letters, kind, some, inner, maybe"


@pytest.mark.parametrize(
    ("change", "code", "pointer", "detail"),
    [
        ({SECRET: 1}, "unknown_field", f"/{SECRET}", f"Unknown field. Known fields: {KNOWN}"),
        ({"short": SECRET}, "too_long", "/short", "The value must have 3 or fewer characters"),
        ({"short": 1}, "type", "/short", "The value must be a string"),
        ({"long": SECRET}, "type", "/long", "The value must have 20 or more characters or be null"),
        ({"long": [SECRET]}, "type", "/long", "The value must be a string or be null"),
        ({"letters": SECRET}, "pattern", "/letters", "The value must match the pattern ^[a-c]+$"),
        ({"kind": SECRET}, "enum", "/kind", "The value must be one of: x, y"),
        ({"some": []}, "too_short", "/some", "The value must have 1 or more items"),
        ({"some": [1, 2, 3]}, "too_long", "/some", "The value must have 2 or fewer items"),
        ({"some": [1, 1]}, "uniqueItems", "/some", "The value must not contain duplicates"),
        ({"some": [SECRET]}, "type", "/some/0", "The value must be an integer"),
        ({"inner": {}}, "required", "/inner/word", "The field `word` is required"),
        ({"inner": {"word": "", SECRET: 1}}, "unknown_field", f"/inner/{SECRET}", "Unknown field. Known fields: word"),
        ({"maybe": SECRET}, "type", "/maybe", "The value must be an object or be null"),
        ({"maybe": {"word": [SECRET]}}, "type", "/maybe", "The value must have the documented form"),
    ],
)
def test_a_fault_of_a_body_says_what_is_allowed(change: dict[str, Any], code: str, pointer: str, detail: str) -> None:
    (fault,) = schema_faults({"short": "abc", **change}, Body)
    assert (fault.code, fault.pointer, fault.detail) == (code, pointer, detail)
    assert SECRET not in fault.detail


@pytest.mark.parametrize(
    ("query", "code", "detail"),
    [
        (
            f"{SECRET}=1",
            "unknown_parameter",
            "Unknown query parameter. Known parameters: " + ", ".join(Query.__struct_fields__),
        ),
        ("limit=1&limit=2", "repeated", "The parameter `limit` must not be repeated"),
        ("limit=101", "invalid", "The parameter `limit` must be an integer from 1 to 100"),
        (f"limit={SECRET}", "invalid", "The parameter `limit` must be an integer from 1 to 100"),
        ("page=0", "invalid", "The parameter `page` must be an integer of 1 or more"),
        (f"count={SECRET}", "invalid", "The parameter `count` must be one of: exact, none"),
        (f"cursor={SECRET}", "invalid", "The parameter `cursor` must have 3 or fewer characters"),
        (f"type={SECRET}", "invalid", "The parameter `type` must match the pattern ^[a-c]+$"),
        (f"sort={SECRET}", "invalid", "The parameter `sort` must have 9 or fewer characters and match the pattern ^a"),
        (f"any={SECRET}", "invalid", "The parameter `any` must have the documented form"),
    ],
)
def test_a_fault_of_a_query_string_says_what_is_allowed(query: str, code: str, detail: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_query(query.encode(), Query)
    (fault,) = caught.value.faults
    assert (fault.code, fault.detail) == (code, detail)
    assert SECRET not in fault.detail
