"""JSON Patch: the tables of RFC 6902, another implementation as oracle, and bounds of its cost."""

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kingpost.jsontools import json_patch
from kingpost.problems import Conflict, InvalidRequest, TooLarge
from tests.timing import assert_linear

LIMIT = 10_000


def apply(document: Any, *operations: Any) -> Any:
    return json_patch.apply(document, operations, LIMIT)


# Appendix A of RFC 6902, and cases from github.com/json-patch/json-patch-tests: document, operations, result.
APPLIED: list[tuple[Any, list[Any], Any]] = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
    (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    ({"foo": "bar"}, [{"op": "add", "path": "/child", "value": {"a": {}}}], {"foo": "bar", "child": {"a": {}}}),
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}], {"foo": "bar", "baz": "qux"}),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~1", "value": 9}], {"/": 9, "~1": 10}),
    ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc"]}], {"foo": ["bar", ["abc"]]}),
    ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/1", "value": 1}], {"foo": ["bar", 1]}),
    ({"foo": 1}, [{"op": "add", "path": "", "value": [1]}], [1]),
    ({"foo": 1}, [{"op": "replace", "path": "", "value": {"baz": 1}}], {"baz": 1}),
    ([], [{"op": "add", "path": "/-", "value": 1}], [1]),
    ({}, [{"op": "add", "path": "/", "value": 1}], {"": 1}),
    ({"foo": 1}, [{"op": "add", "path": "/foo", "value": None}], {"foo": None}),
    ({"foo": None}, [{"op": "replace", "path": "/foo", "value": 1}], {"foo": 1}),
    ({"foo": None}, [{"op": "move", "from": "/foo", "path": "/bar"}], {"bar": None}),
    ({"foo": None}, [{"op": "copy", "from": "/foo", "path": "/bar"}], {"foo": None, "bar": None}),
    ({"foo": 1}, [{"op": "move", "from": "/foo", "path": "/foo"}], {"foo": 1}),
    ({"foo": 1}, [{"op": "move", "from": "", "path": ""}], {"foo": 1}),
    ({"foo": {"a": 1}}, [{"op": "copy", "from": "", "path": "/foo/b"}], {"foo": {"a": 1, "b": {"foo": {"a": 1}}}}),
    ({"foo": {"a": 1}}, [{"op": "move", "from": "/foo/a", "path": "/foo"}], {"foo": 1}),
    ({"foo": [1, 2]}, [{"op": "replace", "path": "/foo/0", "value": 3}], {"foo": [3, 2]}),
    ({"0": [1]}, [{"op": "test", "path": "/0/0", "value": 1}], {"0": [1]}),
    ({"a": 1, "b": 2}, [{"op": "test", "path": "", "value": {"b": 2, "a": 1.0}}], {"a": 1, "b": 2}),
    # What was copied or inserted is independent of its origin.
    (
        {"a": {"x": [1]}},
        [
            {"op": "add", "path": "/a/x/-", "value": 2},
            {"op": "copy", "from": "/a", "path": "/b"},
            {"op": "add", "path": "/a/x/-", "value": 3},
            {"op": "add", "path": "/b/x/-", "value": 4},
            {"op": "copy", "from": "/b/x", "path": "/c"},
            {"op": "remove", "path": "/b/x/0"},
        ],
        {"a": {"x": [1, 2, 3]}, "b": {"x": [2, 4]}, "c": [1, 2, 4]},
    ),
]


@pytest.mark.parametrize(("document", "operations", "result"), APPLIED)
def test_applied(document: Any, operations: list[Any], result: Any) -> None:
    before = copy.deepcopy((document, operations))

    assert apply(document, *operations) == result
    assert (document, operations) == before


@pytest.mark.parametrize(
    ("found", "expected", "is_equal"),
    [
        (1, 1.0, True),
        (-0.0, 0, True),
        (2**53, float(2**53), True),
        (2**53 - 1, float(2**53), False),
        (1, True, False),
        (True, 1, False),
        (0, False, False),
        (False, None, False),
        (True, True, True),
        (None, None, True),
        ("1", 1, False),
        ([1, [True]], [1, [1]], False),
        ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ({"a": None}, {"b": None}, False),
        ([], {}, False),
        ({}, [], False),
        ([1, 2], [1], False),
        ("é", "e\u0301", False),
    ],
)
def test_values_are_compared_by_type_and_value(found: Any, expected: Any, *, is_equal: bool) -> None:
    operation = {"op": "test", "path": "/a", "value": expected}

    if is_equal:
        assert apply({"a": found}, operation) == {"a": found}
    else:
        with pytest.raises(Conflict):
            apply({"a": found}, operation)


@pytest.mark.parametrize("path", ["/missing", "/list/9", "/list/-", "/list/01", "/text/0", "/missing/x"])
def test_a_test_of_a_path_that_does_not_exist_fails(path: str) -> None:
    for expected in (None, 1):
        with pytest.raises(Conflict):
            apply({"list": [1], "text": "abc"}, {"op": "test", "path": path, "value": expected})


INVALID: list[Any] = [
    None,
    "remove",
    {},
    {"path": "/data"},
    {"op": "remove"},
    {"op": "remove", "path": 1},
    {"op": "remove", "path": "data"},
    {"op": "remove", "path": "/data/~2"},
    {"op": "remove", "path": "/data/~"},
    {"op": "remove", "path": "/data/missing"},
    {"op": "remove", "path": "/data/list/9"},
    {"op": "remove", "path": "/data/list/x"},
    {"op": "remove", "path": "/data/list/-"},
    {"op": "remove", "path": "/data/list/00"},
    {"op": "remove", "path": "/data/list/1e0"},
    {"op": "remove", "path": "/data/list/٠"},
    {"op": "remove", "path": "/data/text/x"},
    {"op": "remove", "path": ""},
    {"op": "remove", "path": "/data" * 1001},
    {"op": "add", "path": "/data/list/x", "value": 1},
    {"op": "add", "path": "/data/list/-1", "value": 1},
    {"op": "add", "path": "/data/list/2", "value": 1},
    {"op": "add", "path": "/data/list/" + "9" * 5000, "value": 1},
    {"op": "add", "path": "/data/text/x", "value": 1},
    {"op": "add", "path": "/data/missing/x", "value": 1},
    {"op": "add", "path": "/data/new"},
    {"op": "replace", "path": "/data/missing", "value": 1},
    {"op": "replace", "path": "/data/list/x", "value": 1},
    {"op": "replace", "path": "/data/list/1", "value": 1},
    {"op": "replace", "path": "/data/list"},
    {"op": "move", "path": "/data/x"},
    {"op": "move", "from": "/data", "path": "/data/x"},
    {"op": "move", "from": "/data/missing", "path": "/data/x"},
    {"op": "move", "from": "/data/missing", "path": "/data/missing"},
    {"op": "copy", "from": ["/data"], "path": "/data/x"},
    {"op": "copy", "from": "/data/missing", "path": "/data/x"},
    {"op": "test", "path": "/data"},
    {"op": "explode", "path": "/data"},
    {"op": ["add"], "path": "/data"},
    {"op": {}, "path": "/data"},
]


@pytest.mark.parametrize("operation", INVALID)
def test_an_invalid_operation_or_path_is_a_fault_with_its_index(operation: Any) -> None:
    document = {"data": {"list": [1], "text": "abc"}}
    before = copy.deepcopy(document)

    with pytest.raises(InvalidRequest) as refused:
        apply(document, {"op": "replace", "path": "/data/text", "value": "def"}, operation)

    assert [(fault.code, fault.pointer) for fault in refused.value.faults] == [("json_patch", "/1")]
    assert document == before


# Another implementation as oracle

REFUSED = object()
STEPS = st.sampled_from(["a", "b", "0", "1", "-", "~0", "x"])
POINTERS = st.lists(STEPS, max_size=3).map(lambda steps: "".join(f"/{step}" for step in steps))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(0, 2) | st.text("ab", max_size=1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "~"]), inner, max_size=3),
    max_leaves=8,
)
OPERATIONS = st.one_of(
    st.fixed_dictionaries({"op": st.sampled_from(["add", "replace", "test"]), "path": POINTERS, "value": VALUES}),
    st.fixed_dictionaries({"op": st.sampled_from(["move", "copy"]), "path": POINTERS, "from": POINTERS}),
    st.fixed_dictionaries({"op": st.just("remove"), "path": POINTERS}),
)


@given(VALUES, st.lists(OPERATIONS, max_size=6))
@example({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}, {"op": "add", "path": "/b/-", "value": 2}])
def test_results_are_those_of_another_implementation(document: Any, operations: list[Any]) -> None:
    before = copy.deepcopy((document, operations))
    try:
        expected = jsonpatch.apply_patch(document, operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, AttributeError, KeyError):
        expected = REFUSED
    try:
        result = apply(document, *operations)
    except (InvalidRequest, Conflict):
        result = REFUSED

    assert result == expected
    assert (document, operations) == before


# Bounds


def test_the_number_of_operations_is_limited() -> None:
    operation = {"op": "test", "path": "/data", "value": {}}

    assert apply({"data": {}}, *[operation] * json_patch.MAX_OPERATIONS) == {"data": {}}
    with pytest.raises(InvalidRequest):
        apply({"data": {}}, *[operation] * (json_patch.MAX_OPERATIONS + 1))


def test_the_patched_document_is_limited() -> None:
    assert apply({}, {"op": "add", "path": "/a", "value": "x" * (LIMIT - 8)})
    with pytest.raises(TooLarge):
        apply({}, {"op": "add", "path": "/a", "value": "x" * (LIMIT - 7)})


@pytest.mark.parametrize("undo", [[], [{"op": "remove", "path": "/data/copy"}]])
def test_copies_are_limited_even_if_they_are_removed(undo: list[Any]) -> None:
    copying = {"op": "copy", "from": "/data/text", "path": "/data/copy"}
    document = {"data": {"text": "x" * (LIMIT // 8)}}

    assert apply(document, *[copying, *undo] * 7)
    with pytest.raises(TooLarge):
        apply(document, *[copying, *undo] * 8)


def test_copies_that_double_the_document_are_refused() -> None:
    doubling = [{"op": "copy", "from": "/data", "path": f"/data/x{n}"} for n in range(100)]

    with pytest.raises(TooLarge):
        apply({"data": {"text": "x" * 100}}, *doubling)


def test_copies_that_nest_very_deep_are_refused() -> None:
    paths = ["/a" * 2**number for number in range(1, 10)] + ["/a" * 900 + f"/{number}" for number in range(12)]
    operations = [{"op": "copy", "from": "", "path": path} for path in paths]

    with pytest.raises(InvalidRequest) as refused:
        json_patch.apply({"a": {}}, operations, 100_000_000)
    assert refused.value.detail == "The patched document would be nested too deep"


@pytest.mark.parametrize("name", ["tests", "inserts", "moves", "copies", "comparisons"])
def test_the_cost_grows_with_the_sizes_only(name: str) -> None:
    """A hundred operations on a document of many items: each may cost a copy of pointers, but never of values."""

    def work(size: int) -> None:
        items: list[Any] = [[] for _ in range(size)]
        operations: dict[str, list[Any]] = {
            "tests": [{"op": "test", "path": "/a/1", "value": []}] * 100,
            "inserts": [{"op": "add", "path": "/a/0", "value": 1}] * 100,
            "moves": [{"op": "move", "from": "/a", "path": "/b"}, {"op": "move", "from": "/b", "path": "/a"}] * 50,
            "copies": [{"op": "copy", "from": "/a/1", "path": "/a/0"}] * 100,
            "comparisons": [{"op": "test", "path": "/a", "value": items}],
        }
        json_patch.apply({"a": items}, operations[name], 10_000_000)

    assert_linear(work, 5_000)
