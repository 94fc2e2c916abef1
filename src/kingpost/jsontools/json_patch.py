"""JSON Patch (RFC 6902) at a cost that the sizes of patch and document bound.

The arguments are never changed. The first change inside of a container copies that container, and later changes go into
the copy. Everything else is shared, so `copy` takes neither time nor memory for what it copies.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from kingpost.problems import Conflict, Fault, InvalidRequest, TooLarge

MAX_OPERATIONS: Final = 100
MAX_STEPS: Final = 1000
"""Maximum number of steps of a path. Documents are never nested as deep."""

type Container = dict[str, Any] | list[Any]

_POINTER: Final = re.compile("(?:/(?:[^~]++|~[01])*+)?")
_INDEX: Final = re.compile("0|[1-9][0-9]{0,8}", re.ASCII)
_MISSING: Final = object()


class _InvalidOperationError(Exception):
    """The operation violates RFC 6902."""


class _PathError(Exception):
    """A path does not exist, or its value does not allow the operation."""


class _TestFailedError(Exception):
    """The value is not the one that a `test` operation expects."""


def apply(document: Any, operations: Sequence[Any], size_limit: int) -> Any:
    """Apply operations in order and return the patched document. It may share parts with both arguments.

    Args:
        document: decoded JSON.
        operations: decoded JSON that is not validated yet.
        size_limit: maximum size of the patched document, and of all that `copy` operations copy, in bytes of JSON.

    Raises:
        InvalidRequest: an operation is malformed, its path does not exist (RFC 5789, section 2.2), or the document
            becomes very deep.
        Conflict: a `test` operation failed.
        TooLarge: the patched document or the copied values exceed the size limit.
    """
    if len(operations) > MAX_OPERATIONS:
        raise _fault(None, f"A patch can have at most {MAX_OPERATIONS} operations")
    patched = _Patched(document, size_limit)
    index = -1
    try:
        for operation in operations:
            index += 1
            patched.apply(operation)
        if _size(patched.document) > size_limit:
            raise TooLarge("The patched document would exceed the size limit")
    except _InvalidOperationError:
        raise _fault(index, "This is not a valid JSON Patch operation (RFC 6902)") from None
    except _PathError:
        detail = "The path of the operation does not exist, or its value does not allow this operation"
        raise _fault(index, detail) from None
    except _TestFailedError:
        raise Conflict(f"Operation {index}, a test, failed: the document has a different value") from None
    except RecursionError:
        raise _fault(index, "The patched document would be nested too deep") from None
    return patched.document


class _Patched:
    """A document while operations are applied to it.

    Attributes:
        document: the current state.
    """

    def __init__(self, document: Any, copy_limit: int) -> None:
        self.document = document
        self._copy_limit = copy_limit
        self._owned: dict[int, Container] = {}
        """By identity, the containers that only this document contains, at one place. They may be changed. What
        contains an owned container is owned, too."""

    def apply(self, operation: Any) -> None:
        """Apply one operation (RFC 6902, section 4). Members that it does not define are ignored."""
        if not isinstance(operation, dict):
            raise _InvalidOperationError
        path = _steps(operation.get("path"))
        match operation.get("op"):
            case "add":
                self._add(path, _value(operation))
            case "replace":
                self._get(path)
                self._set(path, _value(operation))
            case "remove":
                self._remove(path)
            case "move":
                self._move(_steps(operation.get("from")), path)
            case "copy":
                self._copy(_steps(operation.get("from")), path)
            case "test":
                self._test(path, _value(operation))
            case _:
                raise _InvalidOperationError

    def _move(self, origin: list[str], path: list[str]) -> None:
        value = self._get(origin)
        if path == origin:
            return
        if path[: len(origin)] == origin:
            raise _PathError
        self._remove(origin)
        self._add(path, value)

    def _copy(self, origin: list[str], path: list[str]) -> None:
        value = self._get(origin)
        self._copy_limit -= _size(value)
        if self._copy_limit < 0:
            raise TooLarge("The `copy` operations of the patch would copy more than the size limit")
        self._disown(value)
        self._add(path, value)

    def _test(self, path: list[str], expected: Any) -> None:
        try:
            found = self._get(path)
        except _PathError:
            found = _MISSING
        if not _equal(expected, found):
            raise _TestFailedError

    def _get(self, path: list[str]) -> Any:
        value = self.document
        for step in path:
            value = _child(value, step)
        return value

    def _add(self, path: list[str], value: Any) -> None:
        """Insert into an array, or set a member of an object that need not exist."""
        container = self._own(path[:-1]) if path else None
        if isinstance(container, list):
            index = len(container) if path[-1] == "-" else _index(path[-1])
            if index > len(container):
                raise _PathError
            container.insert(index, value)
        else:
            self._set(path, value)

    def _set(self, path: list[str], value: Any) -> None:
        """Set an item of an array that exists, or a member of an object."""
        if not path:
            self.document = value
            return
        match self._own(path[:-1]):
            case list(array):
                array[_index(path[-1])] = value
            case dict(members):
                members[path[-1]] = value
            case _:
                raise _PathError

    def _remove(self, path: list[str]) -> None:
        if not path:
            raise _PathError
        self._get(path)
        container = self._own(path[:-1])
        if isinstance(container, list):
            del container[_index(path[-1])]
        else:
            del container[path[-1]]

    def _own(self, path: list[str]) -> Any:
        """Return the value at a path. Copy the containers on the way that are not owned yet, so that it can change."""
        value = self.document = self._owned_copy(self.document)
        for step in path:
            child = self._owned_copy(_child(value, step))
            value[step if isinstance(value, dict) else _index(step)] = child
            value = child
        return value

    def _owned_copy(self, value: Any) -> Any:
        if not isinstance(value, dict | list) or id(value) in self._owned:
            return value
        copy = value.copy()
        self._owned[id(copy)] = copy
        return copy

    def _disown(self, value: Any) -> None:
        """Note that a value will be at more than one place."""
        if self._owned.pop(id(value), None) is not None:
            for child in value.values() if isinstance(value, dict) else value:
                self._disown(child)


def _steps(path: Any) -> list[str]:
    """Return the steps of a JSON Pointer (RFC 6901)."""
    if not isinstance(path, str) or not _POINTER.fullmatch(path):
        raise _InvalidOperationError
    if path.count("/") > MAX_STEPS:
        raise _PathError
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise _InvalidOperationError
    return operation["value"]


def _child(value: Any, step: str) -> Any:
    if isinstance(value, dict) and step in value:
        return value[step]
    if isinstance(value, list) and _index(step) < len(value):
        return value[_index(step)]
    raise _PathError


def _index(step: str) -> int:
    """Return the index of an array that a step of a pointer names (RFC 6901, section 4)."""
    if not _INDEX.fullmatch(step):
        raise _PathError
    return int(step)


def _equal(one: Any, other: Any) -> bool:
    """Compare by JSON type and value, numbers numerically (RFC 6902, section 4.6). It takes as long as `one` is."""
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and len(one) == len(other)
            and all(_equal(value, other.get(name, _MISSING)) for name, value in one.items())
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(_number(one) == _number(other))


def _number(value: Any) -> Any:
    """Return the value of a number whose spelling is kept, and any other value unchanged."""
    return float(bytes(value)) if isinstance(value, msgspec.Raw) else value


def _size(value: Any) -> int:
    return len(msgspec.json.encode(value))


def _fault(index: int | None, detail: str) -> InvalidRequest:
    return InvalidRequest.of(Fault(detail, "json_patch", pointer="" if index is None else f"/{index}"))
