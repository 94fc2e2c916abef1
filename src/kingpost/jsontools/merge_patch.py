"""JSON Merge Patch (RFC 7396)."""

from typing import Any


def apply(target: Any, patch: Any) -> Any:
    """Apply a merge patch to a target and return the result (RFC 7396, section 2).

    The arguments are not changed. The result may share objects with both, so treat all three as immutable. It is
    nested no deeper than the deeper of the two arguments. The recursion is as deep as the patch.
    """
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = apply(result.get(name), value)
    return result
