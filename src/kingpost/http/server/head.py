"""Read the head of a request with httptools (llhttp), and judge what it leaves open (RFC 9112).

Each head has a parser of its own, which gets exactly the bytes of that head. So an offered upgrade or the body never
change how the rest of the connection is read: `length` and `is_chunked` alone decide that.
"""

import re
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from kingpost.http.server.bounds import HEADER_LINES
from kingpost.problems import Fault, HeadersTooLarge, InvalidRequest, MethodNotAllowed, NotImplementedByServer, Problem

type HeaderLine = tuple[bytes, bytes]

HEAD_SLACK: Final = 4096
"""Bytes by which a head may exceed the limit. The application checks the exact size later, without the method, spaces
and line ends, and answers with the request's id and path."""
METHODS: Final = frozenset(b"GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT".split())
"""The methods of RFC 9110 and RFC 5789."""
_VERSIONS: Final = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE: Final = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) (HTTP/1\.[01])")
_VERSION_AT_END: Final = re.compile(rb" HTTP/[0-9.]+\r?$")
_BEGINNING: Final = re.compile(_TOKEN + rb"(?: [\x21-\x7e]*(?: [HTP/0-9.]*\r?)?)?")
"""What a request line can begin with."""
_PORT: Final = rb"(?:[0-9]{0,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_AUTHORITY: Final = rb"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+|\[([0-9A-Fa-f:.]+)\])(?::" + _PORT + rb")?"
_HOST: Final = re.compile(_AUTHORITY)
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://" + _AUTHORITY + rb"(/[^?]*)?(?:\?(.*))?")
_ENCODING_LINE: Final = re.compile(rb"(?im)^transfer-encoding:([^\r]*)\r$")
_LENGTH_LINE: Final = re.compile(rb"(?im)^content-length:")
_MAX_DIGITS: Final = 20
"""Digits of a Content-Length. llhttp refuses what exceeds 64 bits, but not thousands of zeros before it."""


class Head:
    """A complete and valid head.

    `length` is the size of the body; None if it is chunked.
    """

    __slots__ = (
        "expects_continue",
        "headers",
        "http_version",
        "keep_alive",
        "length",
        "method",
        "path",
        "query_string",
        "raw_path",
    )

    def __init__(self, line: bytes, headers: list[HeaderLine], *, keep_alive: bool) -> None:
        """Judge a head that llhttp accepted: its request line and its header lines, with names in lower case.

        Raises:
            InvalidRequest: it breaks a rule of RFC 9112.
            MethodNotAllowed: the method is CONNECT, which has no path.
            NotImplementedByServer: the body has a transfer coding that is not known.
        """
        parts = line.split(b" ")
        version = _VERSIONS.get(parts[-1])
        if len(parts) != 3 or version is None:
            raise InvalidRequest("This is not a valid HTTP request")
        self.method = parts[0].decode()
        self.http_version = version
        self.headers = headers
        if self.method == "CONNECT":
            raise MethodNotAllowed(())
        self.raw_path, self.query_string = _split(parts[1], self.method)
        path = self.raw_path.decode()
        self.path = unquote(path) if "%" in path else path
        known = dict(headers)
        is_1_1 = version == "1.1"
        host = known.get(b"host")
        if host is None or len(known) < len(headers) or not _is_host(host):
            _check_host([value for name, value in headers if name == b"host"], is_required=is_1_1)
        self.keep_alive = keep_alive and is_1_1
        self.length: int | None = 0
        if b"content-length" in known or b"transfer-encoding" in known:
            self.length = _body_length(headers, known, is_1_1=is_1_1)
        self.expects_continue = is_1_1 and known.get(b"expect", b"").lower() == b"100-continue"


class HeadReader:
    """Reads one head, in as many pieces as it arrives in."""

    __slots__ = ("_fed", "_is_refused", "_keep_alive", "_limit", "_parser", "headers")

    def __init__(self, limit: int) -> None:
        """Refuse a head that exceeds `limit` by more than `HEAD_SLACK`."""
        self._limit = limit + HEAD_SLACK
        self._parser = HttpRequestParser(self)
        self._fed = 0
        self._is_refused = False
        self._keep_alive = False
        self.headers: list[HeaderLine] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header line from httptools, which leaves white space at the end of the value (RFC 9112, section 5)."""
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Take from httptools what it forgets when it has finished the request."""
        self._keep_alive = self._parser.should_keep_alive()

    def read(self, buffer: bytes) -> tuple[Head, int] | None:
        """Read the bytes since the head began. Return the head and its size, or None if it is incomplete.

        Raises:
            Problem: these bytes are not the beginning of a request that this server reads.
        """
        end = buffer.find(b"\r\n\r\n", self._fed - 3 if self._fed > 3 else 0)
        size = len(buffer) if end < 0 else end + 4
        if size > self._limit:
            raise HeadersTooLarge()
        if buffer.count(b"\n", 0, size) > HEADER_LINES + 2:
            raise HeadersTooLarge(f"A request must not have more than {HEADER_LINES} header lines")
        if not self._is_refused:
            self._feed(buffer if size - self._fed == len(buffer) else buffer[self._fed : size])
            self._fed = size
        if self._is_refused:
            # Only a complete request line distinguishes an unknown method from bytes that are not HTTP.
            if end < 0 and b"\n" not in buffer and _BEGINNING.fullmatch(buffer):
                return None
            raise _refusal(buffer[:size])
        if end < 0:
            if b"\n" in buffer and not _VERSION_AT_END.search(buffer.partition(b"\n")[0]):
                raise InvalidRequest("The request line must end with the version, HTTP/1.1")  # As in HTTP/0.9.
            return None
        del self._parser  # They refer to each other, and only a collection of garbage would find them.
        return Head(buffer[: buffer.index(b"\r\n")], self.headers, keep_alive=self._keep_alive), size

    def _feed(self, part: bytes) -> None:
        try:
            self._parser.feed_data(part)
        except HttpParserUpgrade:
            pass  # A server that does not upgrade answers as if nothing had been offered (RFC 9110, section 7.8).
        except HttpParserError:
            self._is_refused = True


def _refusal(head: bytes) -> Problem:
    """Return the problem of a head that llhttp refuses."""
    match = _REQUEST_LINE.fullmatch(head.partition(b"\r\n")[0])
    if match is None:
        return InvalidRequest("This is not a valid HTTP request")
    if match[1] not in METHODS:
        return NotImplementedByServer("HTTP does not know this method")
    encodings = [value.strip() for value in _ENCODING_LINE.findall(head)]
    if encodings and match[3] == b"HTTP/1.1" and not _LENGTH_LINE.search(head):
        return _refused_encoding(encodings)
    return InvalidRequest("This is not a valid HTTP request")


def _split(target: bytes, method: str) -> tuple[bytes, bytes]:
    """Return the path and the query string of a request target (RFC 9112, section 3.2)."""
    if b"#" in target:
        raise InvalidRequest("The request target must not have a fragment")
    if target.startswith(b"/"):
        path, _, query = target.partition(b"?")
        return path, query
    if target == b"*" and method == "OPTIONS":
        return target, b""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise InvalidRequest("The request target must be a path, or an http or https URL")
    if absolute[1] is not None and not _is_ipv6(absolute[1]):
        raise InvalidRequest("The request target has an invalid host")
    return absolute[2] or b"/", absolute[3] or b""


def _is_host(text: bytes) -> bool:
    match = _HOST.fullmatch(text)
    return match is not None and (match[1] is None or _is_ipv6(match[1]))


def _is_ipv6(text: bytes) -> bool:
    try:
        IPv6Address(text.decode())
    except ValueError:
        return False
    return True


def _check_host(hosts: list[bytes], *, is_required: bool) -> None:
    """Demand one valid Host (RFC 9112, section 3.2)."""
    if not hosts and is_required:
        raise InvalidRequest.of(Fault("HTTP/1.1 requires the Host header", "required", header="Host"))
    if len(hosts) > 1:
        raise InvalidRequest.of(Fault("A request must have one Host header", "duplicate", header="Host"))
    if hosts and not _is_host(hosts[0]):
        raise InvalidRequest.of(
            Fault("Host must be a host name or an IP address, with an optional port", "format", header="Host")
        )


def _body_length(headers: list[HeaderLine], known: dict[bytes, bytes], *, is_1_1: bool) -> int | None:
    """Return the size of the body, or None if it is chunked (RFC 9112, section 6.3)."""
    length, encoding = known.get(b"content-length"), known.get(b"transfer-encoding")
    if encoding is None:
        if length is None or len(length) > _MAX_DIGITS or not length.isdigit():
            fault = Fault("Content-Length must be a number of bytes", "format", header="Content-Length")
            raise InvalidRequest.of(fault)
        return int(length)
    if length is not None or not is_1_1:
        raise InvalidRequest("Transfer-Encoding must not be used with Content-Length or with HTTP/1.0")
    if encoding.lower() != b"chunked":
        raise _refused_encoding([value for name, value in headers if name == b"transfer-encoding"])
    return None


def _refused_encoding(values: list[bytes]) -> Problem:
    """Return the problem of a request with these Transfer-Encoding lines (RFC 9112, section 6.1)."""
    codings = [coding.strip(b" \t").lower() for coding in b",".join(values).split(b",")]
    if all(coding in (b"chunked", b"") for coding in codings):
        return InvalidRequest.of(Fault("Transfer-Encoding must be chunked", "format", header="Transfer-Encoding"))
    return NotImplementedByServer("The only Transfer-Encoding that is supported is chunked")
