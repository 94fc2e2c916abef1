"""The one decoder in front of all validation: strict JSON (RFC 8259, and I-JSON of RFC 7493 where it is stricter).

There are two ways through it with one meaning. Nearly every body is clean, and a few scans at C speed
prove that; msgspec then decodes it. A body that they cannot prove clean goes to the exact way, which
decodes it with the standard library, walks through what came out, and names every fault by its pointer.
The proofs may send a clean body the exact way, which only costs time, but never a faulty one the short way.
"""

import json
import re
from array import array
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, Final

import msgspec

from kingpost.jsontools.faults import Repeated, find_faults, last_place, pointer
from kingpost.problems import Fault, InvalidRequest

__all__ = ["DEFAULT_LIMITS", "JSONLimits", "decode", "pointer"]


class JSONLimits(msgspec.Struct, frozen=True):
    """What a body may hold at most.

    Attributes:
        depth: nested arrays and objects, at most 200 (the decoders recurse).
        keys: object keys in total.
        integer: the largest magnitude of an integer, from 10**15 to 2**63.
    """

    depth: int = 32
    keys: int = 10_000
    integer: int = 2**53

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= 200 or not 10**15 <= self.integer <= 2**63:
            raise ValueError("a JSON limit is outside of what the decoder can keep")


DEFAULT_LIMITS: Final = JSONLimits()


def decode(body: bytes, limits: JSONLimits = DEFAULT_LIMITS) -> Any:
    """Decode a JSON text to dict (in the body's order), list, str, int, float, bool or None.

    Takes linear time and bounded recursion for any body.

    Raises:
        InvalidRequest: with all the faults found, 100 at most. Codes: `malformed` and `encoding` (these
            stand alone, at pointer ""), `too_deep` (alone too, at the first such place), `duplicate_key`,
            `number` (NaN, an infinity, or too large for a float), `integer_range`, `nul`, `surrogate` and
            `too_many_keys` (at pointer ""). No fault repeats a refused value.
    """
    shallow = _is_shallow(body, limits.depth)
    colons = body.count(b":")
    if shallow and colons <= limits.keys and _is_plain(body):
        try:
            value = _fast_decode(body)
            # A repeated key is dropped by the decoder, and its colon with it. No other colon can appear or
            # vanish, since a plain body holds no escaped one.
            if _fast_encode(value).count(b":") == colons:
                return value
        except (msgspec.DecodeError, UnicodeError):
            pass
    return _decode_exactly(body, limits, shallow=shallow)


_fast_decode = msgspec.json.Decoder().decode
_fast_encode = msgspec.json.Encoder().encode

_BACKSLASH: Final = ord("\\")
_DIGITS_TO_ZERO: Final = bytes.maketrans(b"123456789", b"000000000")
_SIXTEEN_DIGITS: Final = b"0" * 16
_LONG_INTEGER: Final = re.compile(rb"(?<![\d.])\d{16}")


def _is_plain(body: bytes) -> bool:
    """Whether the body certainly has no NUL or colon in an escape, and no too large integer.

    Fewer than 16 digits are within any limit, and digits behind a point are no integer. Of all else that a
    text of few keys is refused for, msgspec itself accepts repeated keys only.
    """
    # `find` takes a quarter of the time of `in` for bytes.
    if _BACKSLASH in body and (body.find(b"\\u0000") >= 0 or body.find(b"\\u003") >= 0):
        return False
    return body.translate(_DIGITS_TO_ZERO).find(_SIXTEEN_DIGITS) < 0 or not _LONG_INTEGER.search(body)


_ALL_BUT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ALL_BUT_BRACKETS_AND_QUOTES: Final = bytes(set(_ALL_BUT_BRACKETS) - set(b'"'))
_DEPTH_CHANGES: Final = bytes({91: 1, 123: 1, 93: 255, 125: 255}.get(byte, 0) for byte in range(256))
"""What a byte does to the depth, as signed 8-bit integers."""


def _is_shallow(body: bytes, depth: int) -> bool:
    """Whether no container lies deeper (in a malformed body: none before the fault).

    With all but brackets and quotes gone, two quotes that touch are an empty string or join two strings;
    either way they can go too. What is left between quotes are the brackets in strings.
    """
    if body.count(b"[") + body.count(b"{") <= depth:
        return True
    skeleton = _hide_escaped_quotes(body).translate(None, _ALL_BUT_BRACKETS_AND_QUOTES).replace(b'""', b"")
    brackets = b"".join(skeleton.split(b'"')[::2])
    return max(_depths(brackets), default=0) <= depth


def _hide_escaped_quotes(body: bytes) -> bytes:
    """The body with other bytes for the escaped quotes in its strings, so that every quote begins or ends one."""
    return body.replace(b"\\\\", b"__").replace(b'\\"', b"__") if _BACKSLASH in body else body


def _depths(text: bytes) -> Iterable[int]:
    """How deep the nesting is behind each byte of a text without strings."""
    return accumulate(array("b", text.translate(_DEPTH_CHANGES)))


def _cut(body: bytes, depth: int) -> bytes:
    """The body up to its first too deep container, ended so that this one is null and the last of all its parents."""
    parts = _hide_escaped_quotes(body).split(b'"')
    parts[1::2] = [b" " * len(string) for string in parts[1::2]]
    outside = b" ".join(parts)
    place = next(place for place, found in enumerate(_depths(outside)) if found > depth)
    opened = outside[:place].translate(None, _ALL_BUT_BRACKETS)
    for _ in range(depth):  # Each round takes away the innermost pairs. More are left in malformed bodies only.
        opened = opened.replace(b"[]", b"").replace(b"{}", b"")
    return body[:place] + b"null" + opened[::-1].translate(bytes.maketrans(b"[{", b"]}"))


def _decode_exactly(body: bytes, limits: JSONLimits, *, shallow: bool) -> Any:
    """Decode, or name every fault."""
    text = _text(body if shallow else _cut(body, limits.depth))
    try:
        value = _exact_decode(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest.of(Fault(_describe(error), "malformed", pointer="")) from None
    if not shallow:
        detail = f"Arrays and objects are nested deeper than {limits.depth} levels"
        raise InvalidRequest.of(Fault(detail, "too_deep", pointer=last_place(value)))
    if faults := find_faults(value, limits.keys, limits.integer):
        raise InvalidRequest.of(*faults)
    return value


def _describe(error: json.JSONDecodeError) -> str:
    """What is malformed, and where; what stands behind a colon in the library's words might repeat the input."""
    what = error.msg.partition(":")[0].removesuffix(" at")
    return f"The body is not well-formed JSON: {what} (line {error.lineno}, column {error.colno})"


def _text(body: bytes) -> str:
    """The body as text: UTF-8 without a byte order mark (RFC 8259, section 8.1)."""
    if body.startswith(b"\xef\xbb\xbf"):
        raise InvalidRequest.of(Fault("The body starts with a byte order mark", "encoding", pointer=""))
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        detail = f"The body is not valid UTF-8 at byte {error.start}"
        raise InvalidRequest.of(Fault(detail, "encoding", pointer="")) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Repeated:
    members = dict(pairs)
    return members if len(members) == len(pairs) else Repeated(pairs)


def _integer(digits: str) -> int:
    """The integer, or some too large one: sign and 20 digits exceed any limit, and int() is slow for thousands."""
    return int(digits[:21])


_exact_decode = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer).decode
