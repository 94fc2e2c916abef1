"""JSON Patch: the library tests the tables of RFC 6902; these tests are for the limits and the problems."""

from typing import Any

import pytest

from kingpost.jsontools import json_patch
from kingpost.problems import Conflict, InvalidRequest, TooLarge

LIMIT = 10_000


def apply(document: Any, *operations: Any) -> Any:
    return json_patch.apply(document, operations, LIMIT)


def test_operations_are_applied_in_order_without_changing_the_input() -> None:
    document = {"data": {"tags": ["a"], "title": "Alien"}}

    patched = apply(
        document,
        {"op": "test", "path": "/data/title", "value": "Alien"},
        {"op": "add", "path": "/data/tags/-", "value": "b"},
        {"op": "move", "from": "/data/title", "path": "/data/name"},
        {"op": "replace", "path": "/data/name", "value": "Aliens"},
        {"op": "copy", "from": "/data/tags/0", "path": "/data/first"},
        {"op": "remove", "path": "/data/tags/0"},
    )

    assert patched == {"data": {"tags": ["b"], "name": "Aliens", "first": "a"}}
    assert document == {"data": {"tags": ["a"], "title": "Alien"}}


def test_a_failed_test_operation_is_a_conflict() -> None:
    with pytest.raises(Conflict):
        apply({"data": {"a": 1}}, {"op": "test", "path": "/data/a", "value": 2})


@pytest.mark.parametrize(
    "operation",
    [
        None,
        "remove",
        {},
        {"op": "remove"},
        {"op": "remove", "path": 1},
        {"op": "remove", "path": "data"},
        {"op": "remove", "path": "/data/missing"},
        {"op": "remove", "path": "/data/list/9"},
        {"op": "remove", "path": "/data/list/x"},
        {"op": "remove", "path": "/data/text/x"},
        {"op": "remove", "path": ""},
        {"op": "add", "path": "/data/list/x", "value": 1},
        {"op": "add", "path": "/data/list/-1", "value": 1},
        {"op": "add", "path": "/data/text/x", "value": 1},
        {"op": "add", "path": "/data/new"},
        {"op": "replace", "path": "/data/missing", "value": 1},
        {"op": "replace", "path": "/data/list/x", "value": 1},
        {"op": "move", "path": "/data/x"},
        {"op": "move", "from": "/data", "path": "/data/x"},
        {"op": "copy", "from": ["/data"], "path": "/data/x"},
        {"op": "test", "path": "/data/missing", "value": 1},
        {"op": "explode", "path": "/data"},
        {"op": ["add"], "path": "/data"},
        {"op": {}, "path": "/data"},
    ],
)
def test_an_invalid_operation_or_path_is_a_fault_with_its_index(operation: Any) -> None:
    document = {"data": {"list": [1], "text": "abc"}}

    with pytest.raises((InvalidRequest, Conflict)) as refused:
        apply(document, {"op": "test", "path": "/data/text", "value": "abc"}, operation)

    if isinstance(refused.value, InvalidRequest):
        assert refused.value.faults[0].pointer == "/1"


def test_the_number_of_operations_is_limited() -> None:
    operation = {"op": "test", "path": "/data", "value": {}}

    assert apply({"data": {}}, *[operation] * json_patch.MAX_OPERATIONS) == {"data": {}}
    with pytest.raises(InvalidRequest):
        apply({"data": {}}, *[operation] * (json_patch.MAX_OPERATIONS + 1))


def test_copy_operations_cannot_exceed_the_size_limit() -> None:
    doubling = [{"op": "copy", "from": "/data", "path": f"/data/x{n}"} for n in range(100)]

    with pytest.raises(TooLarge):
        apply({"data": {"text": "x" * 100}}, *doubling)
