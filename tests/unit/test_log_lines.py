"""Lines of the log: no value of a request forges a record, and times are in UTC."""

import logging
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kingpost.cli.log_lines import LogLines

LINES = LogLines()
HEAD = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ERROR kingpost\.http: ")
FORGERIES = [
    "a\n2026-11-22T10:15:30.123Z INFO kingpost.http: forged",
    *(
        "a\rb",
        "a\r\nb",
        "a\x0bb",
        "a\x85b",
        "a\u2028b",
        "a\u2029b",
        "\x1b[2J",
        "\x9b31m",
        "a\x00b",
        "\u202eb",
        "\ud800",
    ),
]


def record(message: str, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("kingpost.http", logging.ERROR, __file__, 1, "%s failed", (message,), exc_info)


def raised(message: str) -> BaseException:
    try:
        raise ValueError(message)
    except ValueError:
        error = sys.exception()
        assert error is not None
        return error


@pytest.mark.parametrize("text", FORGERIES)
def test_a_message_is_one_line_of_printable_characters(text: str) -> None:
    line = LINES.format(record(text))
    assert HEAD.match(line)
    assert line.isprintable()


@given(st.text())
def test_any_message_is_one_line(text: str) -> None:
    assert LINES.format(record(text)).isprintable()


@pytest.mark.parametrize("text", FORGERIES)
def test_the_lines_of_a_traceback_are_indented(text: str) -> None:
    first, *rest = LINES.format(record("GET /", raised(text))).split("\n")
    assert HEAD.match(first)
    assert rest[0] == "    Traceback (most recent call last):"
    assert rest[-1].startswith("    ")
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_times_are_in_utc() -> None:
    made = record("x")
    made.created = 1_795_342_530.0075
    assert LINES.format(made).startswith("2026-11-22T10:15:30.007Z ERROR ")
