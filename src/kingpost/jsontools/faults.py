"""Where a decoded JSON body is faulty: the walk of the strict decoder, and JSON Pointers (RFC 6901)."""

import re
from collections import Counter
from collections.abc import Iterable
from math import isfinite
from typing import Any, Final

from kingpost.problems import Fault

MAX_FAULTS: Final = 100
"""So many faults are reported at most: a hostile body must not buy an answer larger than itself."""

MAX_POINTER: Final = 1024
"""Characters of the longest pointer, for the same reason."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_UNSAFE: Final = re.compile("[\0\ud800-\udfff]")


class Repeated(list[tuple[str, Any]]):
    """The members of an object that names a key more than once."""


def find_faults(value: Any, max_keys: int, max_integer: int) -> list[Fault]:
    """The faults of a decoded body, in its order, 100 at most.

    The walk recurses: the body is nested no deeper than the decoder permits.

    Args:
        value: the body, with `Repeated` where a dict would lose members.
        max_keys: how many keys all objects may have together.
        max_integer: the largest magnitude of an integer.
    """
    inspection = _Inspection(max_integer)
    inspection.visit(value)
    if inspection.keys > max_keys:
        inspection.report("too_many_keys", f"There are more than {max_keys} keys")
    return inspection.faults


class _Inspection:
    """A walk through a decoded body that collects its faults in order."""

    def __init__(self, max_integer: int) -> None:
        self.faults: list[Fault] = []
        self.keys = 0
        self._max_integer = max_integer
        self._path: list[str | int] = []

    def visit(self, value: Any) -> None:
        """Inspect a value and all that is in it."""
        kind = type(value)
        if kind is int:
            if not -self._max_integer <= value <= self._max_integer:
                self.report("integer_range", f"The integer is not within ±{self._max_integer}")
        elif kind is str:
            self._check_text(value)
        elif kind is list:
            self._visit_parts(enumerate(value))
        elif kind is dict:
            self.keys += len(value)
            self._visit_parts(value.items())
        elif kind is Repeated:
            self.keys += len(value)
            self._report_repeated(value)
            self._visit_parts(value)
        elif kind is float and not isfinite(value):
            self.report("number", "The number is not finite, or too large")

    def _visit_parts(self, parts: Iterable[tuple[str | int, Any]]) -> None:
        path = self._path
        path.append(0)
        for step, value in parts:
            path[-1] = step
            if type(step) is str:
                self._check_text(step)
            if value is not None:
                self.visit(value)
            if len(self.faults) >= MAX_FAULTS:
                break
        path.pop()

    def _check_text(self, text: str) -> None:
        if "\0" in text:
            self.report("nul", "The text holds a NUL character")
        if not text.isascii() and _SURROGATE.search(text):
            self.report("surrogate", "The text holds half of a surrogate pair")

    def _report_repeated(self, members: Repeated) -> None:
        counts = Counter(key for key, _ in members)
        for key in (key for key, count in counts.items() if count > 1):
            self._path.append(key)
            self.report("duplicate_key", "The key stands more than once in its object")
            self._path.pop()

    def report(self, code: str, detail: str) -> None:
        """Note a fault where the walk stands."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(detail, code, pointer=pointer(self._path)))


def last_place(value: Any) -> str:
    """The pointer to the last part of the last part of a value, and so on down to a null."""
    path: list[str | int] = []
    while value is not None:
        if type(value) is list:
            path.append(len(value) - 1)
            value = value[-1]
        else:
            key, value = value[-1] if type(value) is Repeated else next(reversed(value.items()))
            path.append(key)
    return pointer(path)


def pointer(path: Iterable[str | int]) -> str:
    """The pointer of a path, safe to send.

    NULs and lone surrogates become U+FFFD. A path whose pointer would exceed 1,024 characters is cut where
    it does: the result points to what the thing lies in.
    """
    result = ""
    for step in path:
        token = str(step)[:MAX_POINTER].replace("~", "~0").replace("/", "~1")
        if len(result) + len(token) >= MAX_POINTER:
            break
        result += "/" + _UNSAFE.sub("\ufffd", token)
    return result
