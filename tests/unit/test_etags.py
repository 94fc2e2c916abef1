"""Entity tags and conditions of RFC 9110, section 13.1."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kingpost.http.app.etags import format_etag, if_match, if_none_match
from kingpost.problems import InvalidRequest
from tests.timing import assert_linear

MALFORMED = [
    "", " ", ",", "3", '"3', '3"', "W/3", 'w/"3"', 'W/ "3"', '"3" "4"', '"3"x', 'x"3"', '*, "3"', '"3", *', "**",
    '"3";q=1', "'3'", '"a b"', '"\x7f"', '"\n"', '"3"\n', "\n*", '""3""',
]  # fmt: skip


@given(st.integers(0, 10**18 - 1))
def test_round_trip(version: int) -> None:
    assert if_match(format_etag(version)) == (version,)
    assert if_none_match(format_etag(version), version)
    assert not if_none_match(format_etag(version + 1), version)


def test_format() -> None:
    assert format_etag(3) == '"3"'


@pytest.mark.parametrize(
    ("header", "versions"),
    [
        (None, None),
        ("*", None),
        (" *\t", None),
        ('"3"', (3,)),
        (' "3" ', (3,)),
        ('"3", "4"', (3, 4)),
        ('"3","4"', (3, 4)),
        (', "3" ,, "4",', (3, 4)),
        ('W/"3"', ()),
        ('W/"3", "4"', (4,)),
        ('"abc"', ()),
        ('""', ()),
        ('"3-gzip"', ()),
        ('"a,b", "5"', (5,)),
        ('"\xe9\xff"', ()),
        ('"03"', ()),
        ('"+3"', ()),
        ('"-3"', ()),
        ('"3.0"', ()),
        ('"\xb2"', ()),
        ('"' + "9" * 18 + '"', (10**18 - 1,)),
        ('"' + "9" * 5000 + '"', ()),
    ],
)
def test_if_match(header: str | None, versions: tuple[int, ...] | None) -> None:
    assert if_match(header) == versions


@pytest.mark.parametrize(
    ("header", "named"),
    [
        (None, False),
        ("*", True),
        (" * ", True),
        ('"3"', True),
        ('W/"3"', True),
        ('"2", W/"3"', True),
        ('"2", "4"', False),
        ('"a,b","3"', True),
        ('"W/"', False),
        ('"03"', False),
        ('"33"', False),
    ],
)
def test_if_none_match(header: str | None, named: bool) -> None:
    assert if_none_match(header, 3) is named


@pytest.mark.parametrize("header", MALFORMED)
def test_malformed(header: str) -> None:
    for name, parse in (("If-Match", if_match), ("If-None-Match", lambda value: if_none_match(value, 3))):
        with pytest.raises(InvalidRequest) as caught:
            parse(header)
        (fault,) = caught.value.faults
        assert (fault.header, fault.code) == (name, "etag")


@given(st.text(max_size=30) | st.text(alphabet='W/"*, 3a', max_size=20))
def test_any_text_is_parsed_or_refused(header: str) -> None:
    try:
        versions = if_match(header)
    except InvalidRequest:
        with pytest.raises(InvalidRequest):
            if_none_match(header, 3)
    else:
        assert if_none_match(header, 3) or 3 not in (versions if versions is not None else (3,))


@pytest.mark.parametrize("end", ["", "x"])
@pytest.mark.parametrize("part", [",", " ,", '"3",', '"3" ', 'W/"', '"', " "])
def test_long_headers_take_linear_time(part: str, end: str) -> None:
    def parse(size: int) -> None:
        with contextlib.suppress(InvalidRequest):
            if_match(part * size + end)

    assert_linear(parse, 2048)
