"""Responses as bytes."""

import http
import re
from collections.abc import Sequence
from typing import Final

from kingpost.http.app.answers import Header
from kingpost.http.app.application import COMMON_HEADERS, HSTS, request_id_of
from kingpost.http.app.problems import problem_answer
from kingpost.problems import Problem

_PATH: Final = re.compile(rb"/[\x21-\x7e]{0,1000}")
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus
}


def response_head(status: int, headers: Sequence[Header], date_line: bytes, *, keep_alive: bool) -> bytes:
    """Return the head of a response.

    Raises:
        RuntimeError: a header contains a line break, which would end it early.
    """
    lines = [b"%b: %b\r\n" % header for header in headers]
    lines.append(date_line)
    if not keep_alive:
        lines.append(b"connection: close\r\n")
    head = b"".join(lines)
    if head.count(b"\n") > len(lines) or head.count(b"\r") > len(lines):
        raise RuntimeError("a header contains a line break")
    return b"".join((_STATUS_LINES[status], head, b"\r\n"))


def problem_response(
    problem: Problem, received: bytes, lines: Sequence[Header], date_line: bytes, *, is_encrypted: bool
) -> bytes:
    """Return the whole response to a request that never reaches the application. It ends the connection.

    `received` are the bytes of the request, and `lines` the header lines that were read.
    """
    method, _, rest = received.partition(b"\n")[0].partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0].strip()
    request_id = request_id_of(dict(lines))
    answer = problem_answer(problem, path.decode() if _PATH.fullmatch(path) else "", request_id)
    headers = [
        (b"x-request-id", request_id.encode()),
        *COMMON_HEADERS,
        answer.content_security_policy,
        *answer.headers,
        (b"content-type", answer.media_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        *((HSTS,) if is_encrypted else ()),
    ]
    head = response_head(answer.status, headers, date_line, keep_alive=False)
    return head if method == b"HEAD" else head + answer.body
