"""E-mail addresses: which are accepted, and which are equal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kingpost.emails import MAX_LENGTH, InvalidEmail, address

FULL_WIDTH_MIKE = "\uff2d\uff29\uff2b\uff25"
DOTLESS_MIKE = "m\u0131ke"


@pytest.mark.parametrize(
    "text", ["a@kingpost.test", "a@localhost", "a@server.local", "o'neil+tag@b.example", "用户@例え.jp", "1@1.example"]
)
def test_accepted(text: str) -> None:
    assert address(text).address == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "mike",
        "mike@",
        "@kingpost.test",
        "a@b@kingpost.test",
        " mike@kingpost.test",
        "mike@kingpost.test ",
        "mike@kingpost.test\n",
        "mike@kingpost.test.",
        "mi ke@kingpost.test",
        "mi..ke@kingpost.test",
        "mi\u200bke@kingpost.test",
        "mi\x00ke@kingpost.test",
        "mi\ud800ke@kingpost.test",
        '"mi ke"@kingpost.test',
        "Mike <mike@kingpost.test>",
        "mike@[127.0.0.1]",
        "mike@under_score.test",
        "x" * 65 + "@kingpost.test",
        "mike\uff20kingpost.test",
        "mike@kingpost.test\r\nBcc: all@kingpost.test",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidEmail) as caught:
        address(text)
    assert (caught.value.code, caught.value.detail) == ("email", "This is not a valid e-mail address")


def test_the_length_is_checked_first() -> None:
    domain = ".".join(["d" * 47] * 3) + "." + "d" * 45
    longest = "x" * (MAX_LENGTH - len(domain) - 1) + "@" + domain
    assert len(longest) == MAX_LENGTH
    assert address(longest).address == longest
    with pytest.raises(InvalidEmail) as caught:
        address("x" + longest)
    assert caught.value.code == "too_long"
    with pytest.raises(InvalidEmail):
        address("\u0301" * 1_000_000)


@pytest.mark.parametrize(
    "text",
    [
        "MIKE@KINGPOST.TEST",
        "Mike@Kingpost.Test",
        f"{FULL_WIDTH_MIKE}@kingpost.test",
        "mike@\uff4b\uff49\uff4e\uff47\uff50\uff4f\uff53\uff54.test",
    ],
)
def test_spellings_of_one_address_have_the_same_key(text: str) -> None:
    assert address(text).key == address("mike@kingpost.test").key == "mike@kingpost.test"


def test_composed_and_decomposed_forms_are_the_same_address() -> None:
    assert address("jose\u0301@b.test") == address("jos\u00e9@b.test")


def test_unicode_and_ascii_forms_of_a_domain_are_the_same_address() -> None:
    assert address("a@b\u00fccher.example").key == address("a@XN--BCHER-KVA.example").key
    assert address("a@b\u00fccher.example").address == "a@b\u00fccher.example"


def test_sharp_s_is_case_folded() -> None:
    assert address("Stra\u00dfe@b.test").key == address("STRASSE@b.test").key


@pytest.mark.parametrize("text", [f"{DOTLESS_MIKE}@b.test", "m\u0456ke@b.test", "mik\u00e9@b.test", "mike@b.tests"])
def test_look_alike_addresses_stay_different(text: str) -> None:
    assert address(text).key != address("mike@b.test").key


def test_the_address_keeps_its_case() -> None:
    assert address("Mike@Kingpost.test").address == "Mike@kingpost.test"


@given(st.text(max_size=30) | st.tuples(st.text(max_size=20), st.text(max_size=20)).map("@".join))
def test_any_text_is_accepted_or_refused(text: str) -> None:
    """Only `InvalidEmail` is raised, and an accepted address is accepted again with the same key."""
    try:
        accepted = address(text)
    except InvalidEmail:
        return
    assert address(accepted.address) == accepted


@pytest.mark.parametrize("typed", ["ｓquat@example.com", "squ\u1d43t@example.com", "sq\u1d64at@example.com"])
def test_compatibility_characters_are_normalised(typed: str) -> None:
    # Otherwise an account with compatibility characters would get the mail of the address in plain characters.
    assert address(typed) == address("squat@example.com")


@pytest.mark.parametrize(
    "typed", ["ada\uff20evil.example@example.com", "a\uff0cb@example.com", "a\u2024\u2024b@example.com"]
)
def test_characters_that_normalise_to_syntax_are_refused(typed: str) -> None:
    with pytest.raises(InvalidEmail):
        address(typed)
