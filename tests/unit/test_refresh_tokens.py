"""Refresh tokens: only our tokens are accepted, each in one spelling, and the successor can be derived again."""

import hashlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kingpost import base64url, clock
from kingpost.auth.sessions.refresh_tokens import RefreshToken, RefreshTokens
from kingpost.secret import MasterSecret

TOKENS = RefreshTokens(MasterSecret("one secret"))
IDS = st.uuids().map(str)


@given(IDS)
def test_round_trip(session_id: str) -> None:
    token = TOKENS.first(session_id)
    assert TOKENS.parse(token.text) == token
    assert token.session_id == session_id
    assert len(token.text) == 86


@given(IDS, st.integers(0, 64 * 8 - 1))
def test_a_flipped_bit_is_refused(session_id: str, bit: int) -> None:
    value = bytearray(base64url.decode(TOKENS.first(session_id).text))
    value[bit // 8] ^= 1 << bit % 8
    assert TOKENS.parse(base64url.encode(bytes(value))) is None


@given(st.text(max_size=100) | st.binary(max_size=80).map(base64url.encode))
def test_anything_else_is_refused(text: str) -> None:
    assert TOKENS.parse(text) is None


def test_a_token_has_one_spelling() -> None:
    text = TOKENS.first(clock.new_id()[0]).text
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # The last character has two bits of the tag and four unused bits.
    others = [text[:-1] + char for char in alphabet if char != text[-1]]
    others += [text + "==", text + "\n", " " + text, text + "A", text.replace("-", "+").replace("_", "/") + "="]
    assert [other for other in others if TOKENS.parse(other)] == []


def test_a_truncated_or_extended_token_is_refused() -> None:
    value = base64url.decode(TOKENS.first(clock.new_id()[0]).text)
    for changed in (value[:-1], value[:48], value[:20], b"", value + b"\x00"):
        assert TOKENS.parse(base64url.encode(changed)) is None


def test_another_installation_refuses_the_token() -> None:
    token = TOKENS.first(clock.new_id()[0])
    assert RefreshTokens(MasterSecret("another secret")).parse(token.text) is None


def test_another_node_accepts_the_token() -> None:
    token = TOKENS.first(clock.new_id()[0])
    assert RefreshTokens(MasterSecret("one secret")).parse(token.text) == token


def test_first_tokens_are_random() -> None:
    session_id, _ = clock.new_id()
    assert len({TOKENS.first(session_id).text for _ in range(100)}) == 100


def test_a_session_id_must_be_a_uuid() -> None:
    with pytest.raises(ValueError, match="UUID"):
        TOKENS.first("not an id")


@given(IDS)
def test_the_successor_is_deterministic(session_id: str) -> None:
    token = TOKENS.first(session_id)
    other_node = RefreshTokens(MasterSecret("one secret"))
    parsed = other_node.parse(token.text)
    assert parsed is not None
    assert TOKENS.successor(token) == other_node.successor(parsed)


def test_successors_never_repeat() -> None:
    token = TOKENS.first(clock.new_id()[0])
    seen = set[bytes]()
    for _ in range(200):
        assert TOKENS.parse(token.text) == token
        seen.add(token.hash)
        token = TOKENS.successor(token)
    assert len(seen) == 200


def test_the_successor_depends_on_the_master_secret() -> None:
    token = TOKENS.first(clock.new_id()[0])
    thief = RefreshTokens(MasterSecret("a guess"))
    assert thief.successor(token).secret != TOKENS.successor(token).secret


def test_the_successor_is_bound_to_its_session() -> None:
    token = TOKENS.first(clock.new_id()[0])
    in_other_session = RefreshToken(str(uuid.uuid4()), token.secret, "")
    assert TOKENS.successor(in_other_session).secret != TOKENS.successor(token).secret


def test_only_a_hash_of_the_secret_is_stored() -> None:
    token = TOKENS.first(clock.new_id()[0])
    assert token.hash == hashlib.sha256(base64url.decode(token.text)[16:48]).digest()


def test_repr_does_not_show_the_token() -> None:
    token = TOKENS.first(clock.new_id()[0])
    assert token.text not in repr(token)
    assert repr(token.secret) not in repr(token)
