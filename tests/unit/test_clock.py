"""Times in external input, and the ids that contain times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kingpost import clock

MILLISECONDS = st.integers(0, 253_402_300_799_999)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T10:15:30Z", "2026-11-22T10:15:30.000Z"),
        ("2026-11-22t10:15:30.5z", "2026-11-22T10:15:30.500Z"),
        ("2026-11-22 10:15:30.123+00:00", "2026-11-22T10:15:30.123Z"),
        ("2026-11-22T10:15:30.123-00:00", "2026-11-22T10:15:30.123Z"),
        ("2026-11-22T00:15:30+01:30", "2026-11-21T22:45:30.000Z"),
        ("2026-12-31T23:30:00-01:00", "2027-01-01T00:30:00.000Z"),
        ("2026-11-22T10:15:30.1230001Z", "2026-11-22T10:15:30.123Z"),
        ("2026-11-22T10:15:30.123001Z", "2026-11-22T10:15:30.124Z"),
        ("2026-12-31T23:59:59.999999Z", "2027-01-01T00:00:00.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"),
    ],
)
def test_a_time_is_read_in_utc_and_rounded_up(text: str, expected: str) -> None:
    assert clock.read(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-22",
        "2026-11-22T10:15Z",
        "2026-11-22T10:15:30",
        "20261122T101530Z",
        "2026-11-22T10:15:30+01",
        "2026-11-22T10:15:30+0100",
        "2026-11-22T10:15:30+25:00",
        "2026-02-29T00:00:00Z",
        "2026-11-22T24:00:01Z",
        "2026-11-22T23:59:60Z",
        "2026-11-22T10:15:30Z\n",
        " 2026-11-22T10:15:30Z",
        "2026-11-22T10:15:30,5Z",
        "2026-W47-7T10:15:30Z",
        "٢٠٢٦-11-22T10:15:30Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "1795342530",
    ],
)
def test_an_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        clock.read(text)


@given(MILLISECONDS)
def test_stored_times_are_read_unchanged(milliseconds: int) -> None:
    assert clock.read(clock.timestamp(milliseconds)) == clock.timestamp(milliseconds)


@given(MILLISECONDS, MILLISECONDS)
def test_first_ids_sort_by_time(one: int, other: int) -> None:
    first, second = clock.timestamp(one), clock.timestamp(other)
    assert (clock.first_id_of(first) < clock.first_id_of(second)) == (first < second)


def test_a_new_id_is_between_the_first_ids_of_its_millisecond_and_the_next() -> None:
    for _ in range(100):
        entry_id, now = clock.new_id()
        next_millisecond = clock.read(now.replace("Z", "1Z"))
        assert clock.first_id_of(now) <= entry_id < clock.first_id_of(next_millisecond)


def test_times_before_1970_have_the_lowest_id() -> None:
    assert clock.first_id_of("1969-12-31T23:59:59.999Z") == "00000000-0000-0000-0000-000000000000"
