"""Strict JSON decoder for all request bodies (RFC 8259, and I-JSON of RFC 7493 where it is stricter).

A body takes one of two paths. The fast path is for bodies that a few scans at C speed prove valid, and quick to decode:
msgspec decodes them. All other bodies take the slow path: the standard library decodes them, and a walk through the
result reports every fault with its pointer. The scans may send a valid body to the slow path, which only costs time.
They never send an invalid body to the fast path.

No body of a mebibyte keeps one call in C busy for longer than about 25 ms. A thread that runs this code therefore lets
the event loop continue (docs/decisions/0024-cost-of-a-body.md).
"""

import json
import json.scanner
import re
from array import array
from collections.abc import Iterator
from itertools import accumulate, chain
from math import isfinite
from typing import Any, Final

import msgspec

from kingpost.jsontools.faults import DuplicateKeys, find_faults, innermost_pointer, pointer
from kingpost.problems import Fault, InvalidRequest

__all__ = ["DEFAULT_LIMITS", "JSONLimits", "decode", "pointer"]


class JSONLimits(msgspec.Struct, frozen=True):
    """The limits of a body.

    Attributes:
        depth: maximum nesting of arrays and objects, at most 200 because the decoders recurse.
        keys: maximum number of object keys in total.
        integer: maximum absolute value of an integer, from 10**15 to 2**63.
    """

    depth: int = 32
    keys: int = 10_000
    integer: int = 2**53

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= 200 or not 10**15 <= self.integer <= 2**63:
            raise ValueError("a JSON limit is out of range")


DEFAULT_LIMITS: Final = JSONLimits()


def decode(body: bytes, limits: JSONLimits = DEFAULT_LIMITS) -> Any:
    """Decode a JSON text to dict (in the order of the body), list, str, int, float, bool or None.

    A number that `msgspec.json.encode` would write in another way, such as `1e5`, `1.10` or `-0`, becomes a
    `msgspec.Raw` with its text. So all numbers are encoded again as they were sent.

    It takes linear time and bounded recursion for any body.

    Raises:
        InvalidRequest: the body has faults; at most 100 are reported. The codes `malformed`, `encoding` (both at
            pointer "") and `too_deep` (at the first container that is too deep) are reported alone. The others
            are `duplicate_key`, `number` (NaN, infinite, or too large for a float), `integer_range`, `nul`,
            `surrogate` and `too_many_keys` (at pointer ""). Faults never quote the rejected value.
    """
    containers = body.count(b"[") + body.count(b"{")
    shallow = containers <= limits.depth or _is_shallow(body, limits.depth)
    colons = body.count(b":")
    if shallow and colons <= limits.keys and containers <= _MANY_CONTAINERS and _is_plain(body):
        try:
            value = _fast_decode(body)
            # The decoder drops duplicate keys together with their colons. The number of all other colons stays the
            # same, because a plain body has no escaped colon.
            encoded = _fast_encode(value)
            if encoded.count(b":") == colons and _has_same_numbers(body, encoded):
                return value
        except (msgspec.DecodeError, UnicodeError):
            pass
    return _slow_path(body, limits, shallow=shallow)


def decode_stored(text: bytes) -> Any:
    """Decode a JSON text that this decoder has accepted before, perhaps under other limits.

    Raises:
        ValueError: the text is not well-formed JSON.
    """
    has_many = text.count(b"[") + text.count(b"{") > _MANY_CONTAINERS
    if not has_many and _has_few_exponents(text, text.translate(_DIGITS_TO_ZERO)):
        value = _fast_decode(text)
        if _has_same_numbers(text, _fast_encode(value)):
            return value
    return _slow_decode(text.decode())


def check(text: bytes, limits: JSONLimits) -> None:
    """Check the depth and the number of keys of an encoded document that consists of accepted parts.

    Raises:
        InvalidRequest: as for `decode`.
    """
    if text.count(b":") > limits.keys or not _is_shallow(text, limits.depth):  # A colon in a string counts as well.
        decode(text, limits)


_fast_decode = msgspec.json.Decoder().decode
_fast_encode = msgspec.json.Encoder().encode

_ALL_BUT_NUMBERS: Final = bytes(set(range(256)) - set(b"0123456789.-+eE"))
_UNICODE_ESCAPE: Final = re.compile(rb"\\u[0-9A-Fa-f]{4}")


def _has_same_numbers(body: bytes, encoded: bytes) -> bool:
    """Return whether the numbers of a body are certainly spelled in the same way after they were decoded and encoded.

    The characters of numbers are compared together with those in strings, which are the same but for escapes.
    """
    if _BACKSLASH in body and (body.find(b"\\u") >= 0 or encoded.find(b"\\u") >= 0):
        body, encoded = _UNICODE_ESCAPE.sub(b"", body), _UNICODE_ESCAPE.sub(b"", encoded)
    return body.translate(None, _ALL_BUT_NUMBERS) == encoded.translate(None, _ALL_BUT_NUMBERS)


_BACKSLASH: Final = ord("\\")
_DIGITS_TO_ZERO: Final = bytes.maketrans(b"123456789E", b"000000000e")
_SIXTEEN_DIGITS: Final = b"0" * 16
_LONG_INTEGER: Final = re.compile(rb"(?<![\d.])\d{16}")
_EXPONENT: Final = re.compile(rb"[\s,:\[]-?\d[\d.]*+[eE]")

_MANY_EXPONENTS: Final = 64
"""msgspec needs up to 15 microseconds for a number near the limits of a float, and 0.05 for most others."""

_SHORT: Final = 2048
"""Bytes in which even the slowest numbers take no more than 4 milliseconds."""

_MANY_CONTAINERS: Final = 100_000
"""An array or object takes 0.15 microseconds, more for its length than any other value."""


_MANY_TEXTS: Final = 150_000
"""The standard library takes 0.1 microseconds for a short text."""


def _is_plain(body: bytes) -> bool:
    """Return whether the body certainly has no escaped NUL or colon, no integer beyond the limit, and few exponents.

    Any integer of fewer than 16 digits is within the limit, and digits after a decimal point are not an integer.
    msgspec rejects all other faults except duplicate keys.
    """
    # For bytes, `find` is four times as fast as `in`.
    if _BACKSLASH in body and (body.find(b"\\u0000") >= 0 or body.find(b"\\u003") >= 0):
        return False
    digits = body.translate(_DIGITS_TO_ZERO)
    if digits.find(_SIXTEEN_DIGITS) >= 0 and _LONG_INTEGER.search(body):
        return False
    return len(body) <= _SHORT or _has_few_exponents(body, digits)


def _has_few_exponents(body: bytes, digits: bytes) -> bool:
    """Return whether few numbers of the body have an exponent. `digits` is the body after `_DIGITS_TO_ZERO`."""
    # Hexadecimal ids also have digits before an `e`, so count again precisely.
    return digits.count(b"0e") <= _MANY_EXPONENTS or len(_EXPONENT.findall(body)) <= _MANY_EXPONENTS


_ALL_BUT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ALL_BUT_BRACKETS_AND_QUOTES: Final = bytes(set(_ALL_BUT_BRACKETS) - set(b'"'))
_PIECE: Final = 64 * 1024
_DEPTH_CHANGES: Final = bytes({91: 1, 123: 1, 93: 255, 125: 255}.get(byte, 0) for byte in range(256))
"""The change of the nesting depth at each byte, as signed 8-bit integers."""


def _is_shallow(body: bytes, depth: int) -> bool:
    """Return whether no container is nested deeper than `depth`. In a malformed body: none before the fault.

    First, remove all bytes except brackets and quotes. Two adjacent quotes are then an empty string, or the end of
    one string and the start of the next, so they can be removed too. The remaining quotes enclose only strings with
    brackets, which are removed last.
    """
    skeleton = _hide_escaped_quotes(body).translate(None, _ALL_BUT_BRACKETS_AND_QUOTES).replace(b'""', b"")
    brackets = _join(b"", skeleton.split(b'"')[::2])
    return all(max(depths) <= depth for depths in _depths(brackets))


def _hide_escaped_quotes(body: bytes) -> bytes:
    """Replace escaped quotes by other bytes, so that every remaining quote begins or ends a string."""
    return body.replace(b"\\\\", b"__").replace(b'\\"', b"__") if _BACKSLASH in body else body


def _depths(text: bytes) -> Iterator[list[int]]:
    """Yield the nesting depth after each byte of a text without strings, in pieces."""
    depth = 0
    for start in range(0, len(text), _PIECE):
        changes = array("b", text[start : start + _PIECE].translate(_DEPTH_CHANGES))
        depths = list(accumulate(changes, initial=depth))[1:]
        depth = depths[-1]
        yield depths


def _join(separator: bytes, parts: list[bytes]) -> bytes:
    """Join in pieces, because one call would take 50 ms for half a million parts."""
    starts = range(0, len(parts), _PIECE)
    return separator.join([separator.join(parts[start : start + _PIECE]) for start in starts])


def _truncate(body: bytes, depth: int) -> bytes:
    """Truncate the body at its first container that is too deep.

    Replace that container by null and close its parents. The null is then the last child of each of them.
    """
    parts = _hide_escaped_quotes(body).split(b'"')
    parts[1::2] = [b" " * len(string) for string in parts[1::2]]
    outside = _join(b" ", parts)
    place = next(place for place, found in enumerate(chain.from_iterable(_depths(outside))) if found > depth)
    opened = outside[:place].translate(None, _ALL_BUT_BRACKETS)
    for _ in range(depth):  # Each round removes the innermost pairs. Only a malformed body has pairs left over.
        opened = opened.replace(b"[]", b"").replace(b"{}", b"")
    return body[:place] + b"null" + opened[::-1].translate(bytes.maketrans(b"[{", b"]}"))


def _slow_path(body: bytes, limits: JSONLimits, *, shallow: bool) -> Any:
    """Decode any body. Raise InvalidRequest with its faults if it is invalid."""
    text = _decode_utf8(body if shallow else _truncate(body, limits.depth))
    try:
        value = _slow_decode(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest.of(Fault(_describe(error), "malformed", pointer="")) from None
    if not shallow:
        detail = f"Arrays and objects must not be nested deeper than {limits.depth} levels"
        raise InvalidRequest.of(Fault(detail, "too_deep", pointer=innermost_pointer(value)))
    if faults := find_faults(value, limits.keys, limits.integer):
        raise InvalidRequest.of(*faults)
    return value


def _describe(error: json.JSONDecodeError) -> str:
    """Describe a syntax error and its position. Drop the text after a colon, which may quote the input."""
    reason = error.msg.partition(":")[0].removesuffix(" at")
    return f"The body is not well-formed JSON: {reason} (line {error.lineno}, column {error.colno})"


def _decode_utf8(body: bytes) -> str:
    """Decode a body from UTF-8 without a byte order mark (RFC 8259, section 8.1)."""
    if body.startswith(b"\xef\xbb\xbf"):
        raise InvalidRequest.of(Fault("The body must not start with a byte order mark", "encoding", pointer=""))
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        detail = f"The body is not valid UTF-8 at byte {error.start}"
        raise InvalidRequest.of(Fault(detail, "encoding", pointer="")) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | DuplicateKeys:
    unique = dict(pairs)
    return unique if len(unique) == len(pairs) else DuplicateKeys(pairs)


# These are written in Python, so that the decoder calls back into Python for each number (see the top of this file).
def _integer(digits: str) -> int | msgspec.Raw:
    """Parse at most 400 characters. Longer integers exceed any limit anyway, and int() is slow for many digits."""
    return msgspec.Raw(b"-0") if digits == "-0" else int(digits[:400])


def _float(text: str) -> float | msgspec.Raw:
    """Parse a number, or keep its text if it is finite and would be encoded in another way."""
    value = float(text)
    is_kept = isfinite(value) and _fast_encode(value) != text.encode()
    return msgspec.Raw(text.encode()) if is_kept else value


class _PatientDecoder(json.JSONDecoder):
    """A decoder in Python that accepts the same texts. It takes five times as long, but no call takes long."""

    def __init__(self, **hooks: Any) -> None:
        super().__init__(**hooks)
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]


def _constant(name: str) -> float:
    """Parse NaN, Infinity or -Infinity, which are faults."""
    return float(name)


_HOOKS: Final[dict[str, Any]] = {
    "object_pairs_hook": _object, "parse_int": _integer, "parse_float": _float, "parse_constant": _constant
}  # fmt: skip
_decode_in_c = json.JSONDecoder(**_HOOKS).decode
_decode_in_python = _PatientDecoder(**_HOOKS).decode


def _slow_decode(text: str) -> Any:
    """Decode JSON with the standard library. It calls back for each number and object, but not for other values."""
    is_long = text.count("[") > _MANY_CONTAINERS or text.count('"') > 2 * _MANY_TEXTS
    return (_decode_in_python if is_long else _decode_in_c)(text)
