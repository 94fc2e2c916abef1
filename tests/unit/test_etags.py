"""Entity tags, and the preconditions of RFC 9110, section 13.1."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kingpost.http.app.etags import format_etag, version_of
from kingpost.http.app.preconditions import Preconditions
from kingpost.problems import InvalidRequest, VersionMismatch
from tests.timing import assert_linear

MALFORMED = [
    "", " ", ",", "3", '"3', '3"', "W/3", 'w/"3"', 'W/ "3"', '"3" "4"', '"3"x', 'x"3"', '*, "3"', '"3", *', "**",
    '"3";q=1', "'3'", '"a b"', '"\x7f"', '"\n"', '"3"\n', "\n*", '""3""',
]  # fmt: skip


def if_match(header: str | None) -> tuple[int, ...] | None:
    """Return the versions that a write may change with this `If-Match`."""
    headers = {} if header is None else {b"if-match": header.encode("latin-1", "replace")}
    return Preconditions(headers).versions(3)


def if_none_match(header: str | None, version: int) -> bool:
    """Return whether this `If-None-Match` names the version."""
    headers = {} if header is None else {b"if-none-match": header.encode("latin-1", "replace")}
    return Preconditions(headers).not_modified(version) is not None


@given(st.integers(0, 10**18 - 1), st.sampled_from([None, "gzip", "zstd"]))
def test_round_trip(version: int, coding: str | None) -> None:
    assert version_of(format_etag(version, coding)) == version
    assert if_match(format_etag(version, coding)) == (version,)
    assert if_none_match(format_etag(version, coding), version)
    assert not if_none_match(format_etag(version + 1, coding), version)


def test_format() -> None:
    assert format_etag(3) == '"3"'
    assert format_etag(3, "zstd") == '"3-zstd"'


def test_a_write_with_if_none_match_changes_only_the_version_that_was_checked() -> None:
    assert Preconditions({b"if-none-match": b'"2"'}).versions(3) == (3,)
    assert Preconditions({b"if-match": b'"2", "3"', b"if-none-match": b'"2"'}).versions(3) == (3,)


@pytest.mark.parametrize(
    ("header", "advises"),
    [('W/"3"', True), ('"2", W/"3-gzip"', True), ('W/"2"', False), ('"2"', False), ('W/"x"', False)],
)
def test_a_mismatch_that_only_weakness_causes_says_what_to_send(header: str, advises: bool) -> None:
    with pytest.raises(VersionMismatch) as caught:
        Preconditions({b"if-match": header.encode()}).check_match(3, None)
    assert caught.value.detail.endswith('Send the `version` in quotes instead: "3"') is advises


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
        ('"3-gzip"', (3,)),
        ('"3-zstd", "4-gzip"', (3, 4)),
        ('"3-br"', ()),
        ('"3-"', ()),
        ('"3-gzip-gzip"', ()),
        ('W/"3-gzip"', ()),
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
        ('"3-gzip"', True),
        ('W/"3-zstd"', True),
        ('"4-gzip"', False),
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
