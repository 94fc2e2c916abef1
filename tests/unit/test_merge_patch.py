"""JSON Merge Patch: the table of RFC 7396, appendix A, and properties that hold for all documents."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kingpost.jsontools import merge_patch

APPENDIX_A: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]

NAMES = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=4)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@pytest.mark.parametrize(("target", "patch", "result"), APPENDIX_A)
def test_appendix_a(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch.apply(target, patch) == result


def test_the_example_of_section_3() -> None:
    target = {
        "title": "Goodbye!",
        "author": {"givenName": "John", "familyName": "Doe"},
        "tags": ["example", "sample"],
        "content": "This will be unchanged",
    }
    patch = {
        "title": "Hello!",
        "phoneNumber": "+01-123-456-7890",
        "author": {"familyName": None},
        "tags": ["example"],
    }
    assert merge_patch.apply(target, patch) == {
        "title": "Hello!",
        "author": {"givenName": "John"},
        "tags": ["example"],
        "content": "This will be unchanged",
        "phoneNumber": "+01-123-456-7890",
    }


@given(VALUES, VALUES)
def test_a_patch_is_idempotent(target: Any, patch: Any) -> None:
    once = merge_patch.apply(target, patch)
    assert merge_patch.apply(once, patch) == once


@given(VALUES, VALUES)
def test_a_patch_changes_neither_argument(target: Any, patch: Any) -> None:
    before = copy.deepcopy((target, patch))
    merge_patch.apply(target, patch)
    assert (target, patch) == before


@given(OBJECTS, OBJECTS)
def test_null_removes_a_field_and_absence_keeps_it(target: dict[str, Any], patch: dict[str, Any]) -> None:
    result = merge_patch.apply(target, patch)
    for name in {*target, *patch}:
        if name not in patch:
            assert result[name] == target[name]
        elif patch[name] is None:
            assert name not in result
        elif not isinstance(patch[name], dict):
            assert result[name] == patch[name]
        else:
            assert result[name] == merge_patch.apply(target.get(name), patch[name])


@given(VALUES, VALUES)
def test_the_result_is_no_deeper_than_its_arguments(target: Any, patch: Any) -> None:
    assert depth(merge_patch.apply(target, patch)) <= max(depth(target), depth(patch))


def test_depth_32() -> None:
    target: Any = "old"
    patch: Any = "new"
    for _ in range(32):
        target, patch = {"kept": 1, "down": target}, {"down": patch}
    result = merge_patch.apply(target, patch)
    for _ in range(32):
        assert result["kept"] == 1
        result = result["down"]
    assert result == "new"
