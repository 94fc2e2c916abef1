"""The one-time tokens in the links of mail."""

import hashlib

import pytest

from kingpost import base64url, clock
from kingpost.accounts.one_time_tokens import tokens as one_time_tokens
from kingpost.accounts.one_time_tokens.store import Purpose
from kingpost.emails import address
from kingpost.model import Origin

USER = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"
HOUR = 60 * 60


@pytest.mark.parametrize(
    ("purpose", "lifetime"), [("verify-email", 24 * HOUR), ("change-email", 24 * HOUR), ("reset-password", HOUR)]
)
def test_the_lifetime_of_a_token_depends_on_its_purpose(purpose: Purpose, lifetime: int) -> None:
    before = clock.now()
    stored = one_time_tokens.new(purpose, USER, address("Ada@Example.com"), Origin("192.0.2.1", "curl")).stored
    assert before <= stored.created_at <= clock.now()
    assert stored.expires_at == clock.shifted(stored.created_at, lifetime)
    assert (stored.user_id, stored.purpose) == (USER, purpose)
    assert (stored.email, stored.email_key) == ("Ada@example.com", "ada@example.com")
    assert (stored.address, stored.device) == ("192.0.2.1", "curl")


def test_a_token_is_256_random_bits_and_is_stored_as_a_hash() -> None:
    tokens = [one_time_tokens.new("reset-password", USER, address("ada@example.com"), Origin()) for _ in range(100)]
    assert len({token.text for token in tokens}) == 100
    for token in tokens:
        assert len(base64url.decode(token.text)) == 32
        assert token.stored.token_hash == hashlib.sha256(token.text.encode()).digest()
