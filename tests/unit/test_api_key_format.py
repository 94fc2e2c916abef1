"""The format of API keys: the pattern for secret scanners, and the checksum that detects typing errors."""

import re
import zlib
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kingpost.auth.api_keys.key_format import ALPHABET, PATTERN, hint, is_well_formed, new_key

KEYS = st.builds(new_key)
CHARACTERS = st.one_of(st.sampled_from(ALPHABET), st.characters())


@given(KEYS)
def test_a_key_matches_the_published_pattern_and_is_well_formed(key: str) -> None:
    assert re.fullmatch(r"kp_[0-9A-Za-z]{49}", key)
    assert PATTERN.findall(f"export KEY='{key}'\n") == [key]
    assert is_well_formed(key)


def test_keys_share_only_their_prefix() -> None:
    keys = [new_key() for _ in range(1000)]
    assert len({key[3:20] for key in keys}) == len(keys)
    for place in range(3, 46):  # Each random character can have every value of the alphabet.
        assert {key[place] for key in keys} == set(ALPHABET)


@given(KEYS)
def test_the_checksum_is_the_crc_32_of_the_rest_in_base_62(key: str) -> None:
    number = 0
    for character in key[46:]:
        number = number * 62 + ALPHABET.index(character)
    assert number == zlib.crc32(key[:46].encode())


def test_the_key_format_is_stable() -> None:
    # Secret scanners rely on it.
    assert is_well_formed("kp_0000000000000000000000000000000000000000000" + "0qdTY0")
    assert is_well_formed("kp_5fQx0Zb81mWcT7vKd2YhNpR4sJu9EaLgX3oViBwM6tC" + "3NaFh5")


@given(KEYS, st.integers(0, 51), CHARACTERS)
def test_a_key_with_one_changed_character_is_refused(key: str, place: int, character: str) -> None:
    changed = key[:place] + character + key[place + 1 :]
    assert is_well_formed(changed) == (changed == key)


@given(KEYS, st.integers(0, 50))
def test_a_key_with_two_swapped_characters_is_refused(key: str, place: int) -> None:
    changed = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
    assert is_well_formed(changed) == (changed == key)


@given(KEYS, st.integers(0, 52), CHARACTERS)
def test_a_key_with_an_extra_or_missing_character_is_refused(key: str, place: int, character: str) -> None:
    assert not is_well_formed(key[:place] + character + key[place:])
    assert not is_well_formed(key[: place - 1] + key[place:] if place else key[1:])


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    for wrong in (text, "kp_" + text, "kp_" + text[:49].rjust(49, "0")):
        assert not is_well_formed(wrong)
    assert not is_well_formed("")
    assert not is_well_formed("kp_")
    assert not is_well_formed("kp_" + "\u0660" * 49)  # Digits, but not of this alphabet.


@given(KEYS)
def test_a_key_with_white_space_or_changed_case_is_refused(key: str) -> None:
    for wrong in (key + "\n", " " + key, key.swapcase(), "KP_" + key[3:]):
        assert not is_well_formed(wrong)


@given(KEYS)
def test_the_hint_is_the_start_of_the_key(key: str) -> None:
    assert key.startswith(hint(key))
    assert len(hint(key)) == 7


def test_the_documentation_has_the_pattern_and_the_checksum_algorithm() -> None:
    text = (Path(__file__).parents[2] / "docs" / "api-keys.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shown: dict[str, Any] = {}
    exec(code, shown)
    assert f"\n{PATTERN.pattern}\n" in text
    for key in [new_key() for _ in range(100)]:
        assert shown["is_key"](key)
        assert not shown["is_key"](key[:-1] + ("0" if key[-1] != "0" else "1"))
