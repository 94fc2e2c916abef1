"""JSON Patch (RFC 6902), bounded."""

from collections.abc import Sequence
from typing import Any

import jsonpatch
import msgspec

from kingpost.problems import Conflict, Fault, InvalidRequest, TooLarge

MOST_OPERATIONS = 100


def apply(document: Any, operations: Sequence[Any], size_limit: int) -> Any:
    """What a document becomes by the operations, in their order. The document itself is not changed.

    Args:
        document: decoded JSON.
        operations: decoded too, of any form.
        size_limit: bytes of JSON that the document may grow to, at any step: `copy` could double it each time.

    Raises:
        InvalidRequest: an operation is malformed or its place does not exist (RFC 5789, section 2.2).
        Conflict: a `test` found another value.
        TooLarge: the document outgrows its limit.
    """
    if len(operations) > MOST_OPERATIONS:
        raise _fault(None, f"A patch has at most {MOST_OPERATIONS} operations")
    patched = msgspec.json.decode(msgspec.json.encode(document))
    for index, operation in enumerate(operations):
        patched = _step(patched, index, operation)
        if len(msgspec.json.encode(patched)) > size_limit:
            raise TooLarge("The patched document would be too large")
    return patched


def _step(document: Any, index: int, operation: Any) -> Any:
    if not isinstance(operation, dict):
        raise _fault(index, "An operation is a JSON object")
    try:
        return jsonpatch.JsonPatch([operation]).apply(document, in_place=True)
    except jsonpatch.JsonPatchTestFailed:
        raise Conflict(f"The test of operation {index} found another value") from None
    except jsonpatch.InvalidJsonPatch:
        raise _fault(index, "This is not an operation of JSON Patch") from None
    # The library lets some type errors through where a path leads into something that has no members.
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError):
        raise _fault(index, "The operation's place does not exist, or cannot be changed like this") from None


def _fault(index: int | None, detail: str) -> InvalidRequest:
    return InvalidRequest.of(Fault(detail, "json_patch", pointer="" if index is None else f"/{index}"))
