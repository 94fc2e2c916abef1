"""JSON Patch (RFC 6902) with limits."""

from collections.abc import Sequence
from typing import Any

import jsonpatch
import msgspec

from kingpost.problems import Conflict, Fault, InvalidRequest, TooLarge

MAX_OPERATIONS = 100


def apply(document: Any, operations: Sequence[Any], size_limit: int) -> Any:
    """Apply operations in order and return the patched document. The given document is not changed.

    Args:
        document: decoded JSON.
        operations: decoded JSON that is not validated yet.
        size_limit: maximum size of the document in bytes of JSON. It is checked after each operation, because a
            `copy` can double the size.

    Raises:
        InvalidRequest: an operation is malformed, or its path does not exist (RFC 5789, section 2.2).
        Conflict: a `test` operation failed.
        TooLarge: the document exceeds the size limit.
    """
    if len(operations) > MAX_OPERATIONS:
        raise _fault(None, f"A patch can have at most {MAX_OPERATIONS} operations")
    patched = msgspec.json.decode(msgspec.json.encode(document))
    for index, operation in enumerate(operations):
        patched = _step(patched, index, operation)
        if len(msgspec.json.encode(patched)) > size_limit:
            raise TooLarge("The patched document would exceed the size limit")
    return patched


def _step(document: Any, index: int, operation: Any) -> Any:
    if not isinstance(operation, dict):
        raise _fault(index, "An operation must be a JSON object")
    try:
        return jsonpatch.JsonPatch([operation]).apply(document, in_place=True)
    except jsonpatch.JsonPatchTestFailed:
        raise Conflict(f"Operation {index}, a test, failed: the document has a different value") from None
    except jsonpatch.InvalidJsonPatch:
        raise _fault(index, "This is not a valid JSON Patch operation (RFC 6902)") from None
    # For a path into a value that is neither object nor array, the library sometimes raises a TypeError.
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError):
        raise _fault(
            index, "The path of the operation does not exist, or its value does not allow this operation"
        ) from None


def _fault(index: int | None, detail: str) -> InvalidRequest:
    return InvalidRequest.of(Fault(detail, "json_patch", pointer="" if index is None else f"/{index}"))
