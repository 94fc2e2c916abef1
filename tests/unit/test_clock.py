"""Times in external input, and the ids that contain times."""

import time
from uuid import RFC_4122, UUID

import pytest
import uuid_utils
from hypothesis import given
from hypothesis import strategies as st

from kingpost import clock
from kingpost.clock import HELD_FOR, IdSequence

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


# --- a clock that is set ------------------------------------------------------------------------------

SECOND = 1_000_000_000
START = 1_795_000_000 * SECOND
STEPS = st.lists(
    st.one_of(
        st.integers(-2 * SECOND, 2 * SECOND),
        st.integers(-(10**10) * SECOND, 10**10 * SECOND),
        st.just(0),
    ),
    max_size=50,
)


@given(STEPS)
def test_ids_follow_a_clock_that_is_set_and_never_repeat(steps: list[int]) -> None:
    now = START
    sequence = IdSequence(lambda: now)
    made: list[str] = []
    for step in steps:
        now = max(0, min(now + step, 200_000_000_000 * SECOND))
        identifier, time = sequence.new()
        milliseconds = now // 1_000_000
        # The time is that of the clock, or ahead of it by a second at most.
        assert clock.timestamp(milliseconds) <= time <= clock.timestamp(milliseconds + HELD_FOR)
        assert clock.first_id_of(time) <= identifier < clock.first_id_of(clock.shifted(time, 0.001))
        assert UUID(identifier).version == 7
        assert UUID(identifier).variant == RFC_4122
        made.append(identifier)
    assert len(set(made)) == len(made)


@given(st.lists(st.integers(-1000, 1000), max_size=50))
def test_ids_stay_in_order_when_the_clock_is_corrected_by_up_to_a_second(offsets: list[int]) -> None:
    now, latest = START, 0
    sequence = IdSequence(lambda: now)
    made = []
    for offset in offsets:
        latest = max(latest, START // 1_000_000 + offset)
        now = max(START // 1_000_000 + offset, latest - HELD_FOR) * 1_000_000
        made.append(sequence.new()[0])
    assert made == sorted(set(made))


@pytest.mark.parametrize("ahead", [1001, 60_000, 365 * 86_400_000])
def test_after_a_clock_was_ahead_and_came_back_ids_and_times_follow_it_at_once(
    ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library remembers the latest time that it has seen.
    future = uuid_utils.UUID(IdSequence(lambda: time.time_ns() + (ahead + 1000) * 1_000_000).new()[0])
    monkeypatch.setattr(uuid_utils, "uuid7", lambda: future)
    before = clock.now()
    made = [clock.new_id() for _ in range(1000)]
    assert all(before <= created_at <= clock.now() for _, created_at in made)
    ids = [identifier for identifier, _ in made]
    assert ids == sorted(set(ids))
    # Once the clock has caught up, the library goes on, in order.
    monkeypatch.undo()
    assert clock.new_id()[1] >= made[-1][1]


def test_ids_made_in_one_millisecond_are_in_order() -> None:
    sequence = IdSequence(lambda: START)
    ids = [sequence.new()[0] for _ in range(10_000)]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-27T21:00:00.123Z", "2027-11-27T21:00:00.123Z"),
        ("2027-03-01T00:00:00.000Z", "2028-03-01T00:00:00.000Z"),
        ("2028-02-28T23:59:59.999Z", "2029-02-28T23:59:59.999Z"),
        ("2028-02-29T12:00:00.000Z", "2029-03-01T12:00:00.000Z"),
        ("2027-12-31T23:59:59.999Z", "2028-12-31T23:59:59.999Z"),
    ],
)
def test_a_year_later_is_the_same_day_of_the_next_year(moment: str, expected: str) -> None:
    assert clock.a_year_after(moment) == expected


def test_times_before_1970_have_the_lowest_id() -> None:
    assert clock.first_id_of("1969-12-31T23:59:59.999Z") == "00000000-0000-0000-0000-000000000000"
