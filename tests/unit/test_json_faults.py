"""JSON Pointers of RFC 6901, and their safe encoding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kingpost.jsontools.faults import MAX_POINTER, pointer


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ([], ""),
        (["foo"], "/foo"),
        (["foo", 0], "/foo/0"),
        ([""], "/"),
        (["a/b"], "/a~1b"),
        (["m~n"], "/m~0n"),
        (["~1"], "/~01"),
        ([" "], "/ "),
        (["\ud800", "\0x", "😀"], "/\ufffd/\ufffdx/😀"),
        (["a", "b" * MAX_POINTER, "c"], "/a"),
        (["~" * 600], ""),
    ],
)
def test_pointer(path: list[str | int], expected: str) -> None:
    assert pointer(path) == expected


@given(st.lists(st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=30)))
def test_a_pointer_can_be_parsed_back(path: list[str]) -> None:
    text = pointer(path)
    if len(text) < MAX_POINTER - 70:
        read = [token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:]]
        assert read == path


@given(st.lists(st.text(max_size=400) | st.integers(0)))
def test_a_pointer_is_short_and_can_be_encoded(path: list[str | int]) -> None:
    assert len(pointer(path).encode()) <= MAX_POINTER * 4
    assert len(pointer(path)) <= MAX_POINTER
