"""Find faults in a decoded JSON body, and write JSON Pointers to them (RFC 6901)."""

import re
from collections import Counter
from collections.abc import Iterable
from math import isfinite
from typing import Any, Final

from kingpost.problems import MAX_FAULTS, Fault

ENOUGH: Final = MAX_FAULTS + 1
"""The number of faults after which the search ends. The last one only shows that a response does not list all."""

MAX_POINTER: Final = 1024
"""Maximum number of characters in a pointer, which bounds the size of a response."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_UNSAFE: Final = re.compile("[\0\ud800-\udfff]")


class DuplicateKeys(list[tuple[str, Any]]):
    """The key-value pairs of an object that has duplicate keys."""


def find_faults(value: Any, max_keys: int, max_integer: int) -> list[Fault]:
    """Return the faults of a decoded body, in the order of the body, at most `ENOUGH`.

    The function recurses, so the decoder must limit the depth of the body.

    Args:
        value: the body, with `DuplicateKeys` for each object with duplicate keys.
        max_keys: maximum number of keys in all objects together.
        max_integer: maximum absolute value of an integer.
    """
    inspection = _Inspection(max_integer)
    inspection.visit(value)
    if inspection.keys > max_keys:
        inspection.report("too_many_keys", f"The objects in the body have more than {max_keys} keys in total")
    return inspection.faults


class _Inspection:
    """Walks through a decoded body and collects its faults in order."""

    def __init__(self, max_integer: int) -> None:
        self.faults: list[Fault] = []
        self.keys = 0
        self._max_integer = max_integer
        self._path: list[str | int] = []

    def visit(self, value: Any) -> None:
        """Inspect a value and its descendants."""
        kind = type(value)
        if kind is int:
            if not -self._max_integer <= value <= self._max_integer:
                self.report("integer_range", f"The integer must be from -{self._max_integer} to {self._max_integer}")
        elif kind is str:
            self._check_text(value)
        elif kind is list:
            self._visit_children(enumerate(value))
        elif kind is dict:
            self.keys += len(value)
            self._visit_children(value.items())
        elif kind is DuplicateKeys:
            self.keys += len(value)
            self._report_duplicates(value)
            self._visit_children(value)
        elif kind is float and not isfinite(value):
            self.report("number", "The number must be finite and fit in a 64-bit float")

    def _visit_children(self, children: Iterable[tuple[str | int, Any]]) -> None:
        path = self._path
        path.append(0)
        for step, value in children:
            path[-1] = step
            if type(step) is str:
                self._check_text(step)
            if value is not None:
                self.visit(value)
            if len(self.faults) >= ENOUGH:
                break
        path.pop()

    def _check_text(self, text: str) -> None:
        if "\0" in text:
            self.report("nul", "The text must not contain a NUL character")
        if not text.isascii() and _SURROGATE.search(text):
            self.report("surrogate", "The text must not contain an unpaired surrogate")

    def _report_duplicates(self, pairs: DuplicateKeys) -> None:
        counts = Counter(key for key, _ in pairs)
        for key in (key for key, count in counts.items() if count > 1):
            self._path.append(key)
            self.report("duplicate_key", "A key must not appear more than once in an object")
            self._path.pop()

    def report(self, code: str, detail: str) -> None:
        """Add a fault at the current position."""
        if len(self.faults) < ENOUGH:
            self.faults.append(Fault(detail, code, pointer=pointer(self._path)))


def innermost_pointer(value: Any) -> str:
    """Return the pointer to the null that is reached by descending into the last child of each container."""
    path: list[str | int] = []
    while value is not None:
        if type(value) is list:
            path.append(len(value) - 1)
            value = value[-1]
        else:
            key, value = value[-1] if type(value) is DuplicateKeys else next(reversed(value.items()))
            path.append(key)
    return pointer(path)


def pointer(path: Iterable[str | int]) -> str:
    """Return the JSON Pointer of a path, in a form that is safe to send.

    NULs and unpaired surrogates are replaced by U+FFFD. If the pointer would exceed `MAX_POINTER` characters, the
    remaining steps are left out, so the result points to an ancestor.
    """
    result = ""
    for step in path:
        token = str(step)[:MAX_POINTER].replace("~", "~0").replace("/", "~1")
        if len(result) + len(token) >= MAX_POINTER:
            break
        result += "/" + _UNSAFE.sub("\ufffd", token)
    return result
