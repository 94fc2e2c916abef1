"""Cursors: an encoded position can be decoded, and any other text is refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kingpost.http.app.cursors import MAX_CURSOR, Cursors
from kingpost.problems import InvalidRequest

CURSORS = Cursors(b"k" * 32)
POSITIONS = st.lists(st.text(max_size=40) | st.integers(-(2**63), 2**64 - 1), max_size=8).map(tuple)
BINDINGS = st.text(max_size=50) | st.binary(max_size=50)
ALPHABET = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
POSITION = ("2026-11-22T10:15:30.123Z", 7, "0193a1b2-0000-7000-8000-000000000000")


def assert_refused(text: str, binding: bytes | str = "q", cursors: Cursors = CURSORS) -> None:
    with pytest.raises(InvalidRequest) as caught:
        cursors.decode(text, binding)
    (fault,) = caught.value.faults
    assert (fault.parameter, fault.code) == ("cursor", "cursor")


@given(POSITIONS, BINDINGS)
def test_round_trip(position: tuple[str | int, ...], binding: bytes | str) -> None:
    text = CURSORS.encode(position, binding)
    assert CURSORS.decode(text, binding) == position
    assert set(text) <= ALPHABET
    assert len(text) <= MAX_CURSOR


def test_a_text_and_its_utf_8_bytes_are_the_same_binding() -> None:
    assert CURSORS.decode(CURSORS.encode(POSITION, "größe"), "größe".encode()) == POSITION


def test_a_flipped_bit_is_refused() -> None:
    content = base64.urlsafe_b64decode(CURSORS.encode(POSITION, "q") + "==")
    for bit in range(len(content) * 8):
        forged = bytearray(content)
        forged[bit // 8] ^= 1 << bit % 8
        assert_refused(base64.urlsafe_b64encode(forged).rstrip(b"=").decode())


def test_a_changed_missing_or_added_character_is_refused() -> None:
    text = CURSORS.encode(POSITION, "q")
    for place in range(len(text)):
        for other in "Aa0-_=+/ \n\0é\ud800":
            if other != text[place]:
                assert_refused(text[:place] + other + text[place + 1 :])
            assert_refused(text[:place] + other + text[place:])
        assert_refused(text[:place])
        assert_refused(text[place + 1 :])
    for added in ("A", "=", "==", "\n", " ", "AAAA"):
        assert_refused(text + added)


def test_a_payload_of_any_length_has_one_spelling() -> None:
    for length in range(8):
        text = CURSORS.encode(("x" * length,), "q")
        others = [text[:-1] + last for last in sorted(ALPHABET) if last != text[-1]]
        for other in others:
            assert_refused(other)


@given(POSITIONS, BINDINGS, BINDINGS)
def test_another_binding_is_refused(position: tuple[str | int, ...], one: bytes | str, other: bytes | str) -> None:
    def plain(binding: bytes | str) -> bytes:
        return binding.encode() if isinstance(binding, str) else binding

    if plain(one) != plain(other):
        assert_refused(CURSORS.encode(position, one), other)


def test_bytes_cannot_move_between_binding_and_payload() -> None:
    content = base64.urlsafe_b64decode(CURSORS.encode(("a",), b"q\x91") + "=" * 3)
    moved = content[:16] + b"\x91" + content[16:]
    assert_refused(base64.urlsafe_b64encode(moved).rstrip(b"=").decode(), b"q")


def test_another_key_is_refused() -> None:
    assert_refused(Cursors(b"l" * 32).encode(POSITION, "q"))


@given(st.text(max_size=100) | st.text(alphabet=sorted(ALPHABET), max_size=100))
def test_any_text_is_refused(text: str) -> None:
    assert_refused(text)


@pytest.mark.parametrize("text", ["", "A" * 22, "A" * MAX_CURSOR, "A" * (MAX_CURSOR + 1), "A" * 1_000_000])
def test_odd_lengths_are_refused(text: str) -> None:
    assert_refused(text)


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x91\xc3", b"\x81\xa1a\x01", b"\x91\x01\x01"])
def test_a_valid_payload_of_another_release_is_refused(payload: bytes) -> None:
    content = CURSORS._tag(payload, "q") + payload
    assert_refused(base64.urlsafe_b64encode(content).rstrip(b"=").decode())


def test_a_too_long_cursor_is_not_created() -> None:
    assert len(CURSORS.encode(("x" * 1400, *(1,) * 7), "q")) <= MAX_CURSOR
    with pytest.raises(ValueError, match="too long"):
        CURSORS.encode(("x" * 2000,), "q")
    with pytest.raises(ValueError, match="too long"):
        CURSORS.encode((1,) * 9, "q")


def test_a_short_key_is_not_accepted() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Cursors(b"short")


def test_the_payload_is_message_pack() -> None:
    """A change of the format invalidates all cursors in use."""
    text = CURSORS.encode(("a", 1), "q")
    assert base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))[16:] == b"\x92\xa1a\x01"
