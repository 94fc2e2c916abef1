"""Content-Type, Accept and Accept-Encoding of RFC 9110, sections 8.3 and 12.5."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kingpost.http.app.media_types import accepted_encoding, accepts, parse_content_type
from tests.timing import assert_linear

JSON = "application/json"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "*/*",
        JSON,
        "Application/JSON",
        "application/*",
        "application/json;q=0.001",
        "application/json; charset=utf-8",
        'application/json;x="a,b;q=0";q=1',
        "text/html, application/json",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "*/*;q=0, application/json",
        "application/*;q=0, application/json;q=0.5",
        "*/*;q=0, application/*;q=1.000",
        "application/json;q=0, application/json;version=1",
        ", ,application/json,,",
        "application/json;",
        "application/json ; Q=0.5 ",
        # Malformed headers are not refused.
        "",
        " ",
        ",",
        "json",
        "text/html, image/gif, *; q=.2",
        "*/json",
        "application/json;q=2",
        "application/json;q=0.0000",
        "application/json;q=0;q=1",
        "application/json;q=0 x",
        "text/html;q",
        'text/html;x="a',
        "text/html/x",
    ],
)
def test_json_is_accepted(header: str | None) -> None:
    assert accepts(header, JSON)


@pytest.mark.parametrize(
    "header",
    [
        "text/html",
        "text/*",
        "application/xml",
        "application/jsonx",
        "application/problem+json",
        "application/json;q=0",
        "application/json;q=0.000, */*",
        "application/json;Q=0",
        "application/*;q=0, */*;q=1",
        "*/*;q=0",
        'text/html;x="application/json,application/json"',
        'text/html;x="\\", application/json"',
    ],
)
def test_json_is_not_accepted(header: str) -> None:
    assert not accepts(header, JSON)


@pytest.mark.parametrize(
    ("header", "parsed"),
    [
        (None, ("", {})),
        (JSON, (JSON, {})),
        ("Application/JSON", (JSON, {})),
        ("application/json; Charset=UTF-8", (JSON, {"charset": "utf-8"})),
        ('application/json;charset="utf-8"', (JSON, {"charset": "utf-8"})),
        ('application/json;charset="ut\\f-8"', (JSON, {"charset": "utf-8"})),
        ("application/json ; a=1;b=2;", (JSON, {"a": "1", "b": "2"})),
        (" application/merge-patch+json ", ("application/merge-patch+json", {})),
        ("", ("", {})),
        ("json", ("", {})),
        ("application/json/x", ("", {})),
        ("application/json x", ("", {})),
        ("application/json, text/html", ("", {})),
        ("application/json;charset", ("", {})),
        ("application/json;charset=", ("", {})),
        ("application/json;charset =utf-8", ("", {})),
        ('application/json;charset="utf-8', ("", {})),
        ("application/json;charset=utf-8;charset=utf-16", ("", {})),
        ("application/json\n", ("", {})),
    ],
)
def test_content_type(header: str | None, parsed: tuple[str, dict[str, str]]) -> None:
    assert parse_content_type(header) == parsed


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        (None, None),
        ("", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate", "gzip"),
        ("br, deflate", None),
        ("*", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("gzip;q=0.5, zstd;q=0.5", "zstd"),
        ("zstd;q=0, *", "gzip"),
        ("gzip;q=0, zstd;q=0, *", None),
        ("*;q=0", None),
        ("*;q=0, gzip;q=0.1", "gzip"),
        ("gzip;q=0.5, *;q=0.9", "zstd"),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("identity, gzip", "gzip"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("identity;q=0", None),
        ("gzip;q=0", None),
        # Malformed headers select the identity encoding.
        ("gzip zstd", None),
        ("gzip;q=2", None),
        ("gzip;q=", None),
        ("/", None),
    ],
)
def test_encoding(header: str | None, encoding: str | None) -> None:
    assert accepted_encoding(header) == encoding


@given(st.text(max_size=40) | st.text(alphabet='ab*/;,q=01. "\\', max_size=40))
def test_any_header_can_be_parsed(header: str) -> None:
    assert accepts(header, JSON) in (True, False)
    assert accepted_encoding(header) in ("gzip", "zstd", None)
    media_type, _ = parse_content_type(header)
    assert media_type == media_type.lower()


def accepts_json(header: str) -> bool:
    return accepts(header, JSON)


@pytest.mark.parametrize("end", ["", "\0"])
@pytest.mark.parametrize("part", ["a/b,", "a/b;", 'a/b;x="', "a/b;x=1,", " ", ",", "\\", 'a/b;x="\\', "a"])
@pytest.mark.parametrize("parse", [accepts_json, accepted_encoding, parse_content_type])
def test_long_headers_take_linear_time(parse: Callable[[str], object], part: str, end: str) -> None:
    assert_linear(lambda size: parse(part * size + end), 1024)
