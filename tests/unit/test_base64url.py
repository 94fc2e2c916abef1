"""base64url: every value has one spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kingpost import base64url


@given(st.binary(max_size=200))
def test_round_trip(value: bytes) -> None:
    assert base64url.decode(base64url.encode(value)) == value


@given(st.text(max_size=60))
def test_only_the_output_of_encode_can_be_decoded(text: str) -> None:
    try:
        value = base64url.decode(text)
    except ValueError:
        return
    assert base64url.encode(value) == text


@pytest.mark.parametrize(
    "text",
    [
        "QQ==",  # padding
        "QR",  # "QQ" with a bit set behind the last byte
        "Q",  # no whole byte
        "+/8",  # the other alphabet
        "QUJD\n",
        " QUJD",
        "QU.JD",
        "QUJDé",
        "\ud800",
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        base64url.decode(text)
