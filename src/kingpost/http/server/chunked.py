"""Decode chunked bodies (RFC 9112, section 7.1).

httptools decodes them as well, but does not tell where a body ends, keeps trailers of any size, and says nothing about
the size of chunk extensions.
"""

import re
from typing import Final

from kingpost.problems import HeadersTooLarge, InvalidRequest

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]+)(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_MAX_DIGITS: Final = 15
"""Significant digits of a chunk size. More are no size that could be read."""

_AT_SIZE, _IN_DATA, _AT_DATA_END, _AT_TRAILER, _AT_END = range(5)


class ChunkedDecoder:
    """Decodes one chunked body. Extensions and trailers are dropped, and count against a limit."""

    __slots__ = ("_framing", "_limit", "_remaining", "_state")

    def __init__(self, framing_limit: int) -> None:
        """Allow this many bytes of chunk extensions, leading zeros and trailers."""
        self._limit = framing_limit
        self._framing = 0
        self._remaining = 0
        self._state = _AT_SIZE

    @property
    def is_complete(self) -> bool:
        return self._state == _AT_END

    def decode(self, data: bytes, max_chunks: int) -> tuple[bytes, int]:
        """Decode what has been received. Return the content, and how many bytes of `data` it took.

        Bytes that are left over belong to an incomplete line, to more than `max_chunks` chunks, or to the next request.

        Raises:
            InvalidRequest: this is no chunked body.
            HeadersTooLarge: it has too many bytes that are not content.
        """
        pieces: list[bytes] = []
        position, chunks = 0, 0
        while self._state != _AT_END:
            if self._state == _IN_DATA:
                piece = data[position : position + self._remaining]
                if not piece:
                    break
                pieces.append(piece)
                position += len(piece)
                self._remaining -= len(piece)
                if self._remaining == 0:
                    self._state = _AT_DATA_END
                continue
            if self._state == _AT_SIZE:
                if chunks == max_chunks:
                    break
                chunks += 1
            end = data.find(b"\n", position)
            if end < 0:
                self._check_partial(data, position)
                break
            if end == position or data[end - 1] != 13:
                raise InvalidRequest("The chunked body has a line that does not end with CR and LF")
            self._take_line(data[position : end - 1])
            position = end + 1
        return b"".join(pieces), position

    def _take_line(self, line: bytes) -> None:
        if self._state == _AT_DATA_END:
            if line:
                raise InvalidRequest("A chunk of the body is longer than its size")
            self._state = _AT_SIZE
        elif self._state == _AT_SIZE:
            self._take_size(line)
        elif not line:
            self._state = _AT_END
        else:
            self._count(len(line) + 2)
            if not _TRAILER.fullmatch(line):
                raise InvalidRequest("The chunked body has an invalid trailer")

    def _take_size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        digits = match[1].lstrip(b"0") if match else b""
        self._count(len(line) - (len(digits) or 1))
        if match is None or len(digits) > _MAX_DIGITS:
            raise InvalidRequest("The chunked body has an invalid chunk size")
        self._remaining = int(digits or b"0", 16)
        self._state = _IN_DATA if self._remaining else _AT_TRAILER

    def _check_partial(self, data: bytes, position: int) -> None:
        """Check the start of a line: it must not be longer than what is allowed, nor be something else."""
        start = data[position : position + 2]
        if self._state == _AT_DATA_END and start not in (b"", b"\r"):
            raise InvalidRequest("A chunk of the body is longer than its size")
        if self._state == _AT_SIZE and start[:1] and start[:1] not in b"0123456789abcdefABCDEF":
            raise InvalidRequest("The chunked body has an invalid chunk size")
        if len(data) - position > self._limit - self._framing + _MAX_DIGITS:
            raise HeadersTooLarge("The chunk extensions and trailers of the body are too large")

    def _count(self, size: int) -> None:
        self._framing += max(size, 0)
        if self._framing > self._limit:
            raise HeadersTooLarge("The chunk extensions and trailers of the body are too large")
