"""One-time tokens for links in mail. The mail contains the token, the database only its hash."""

import hashlib
import os
from collections.abc import Mapping
from typing import NamedTuple

from kingpost import base64url, clock
from kingpost.accounts.one_time_tokens.store import OneTimeToken, Purpose
from kingpost.emails import NormalisedEmail
from kingpost.problems import Fault

HOUR = 60 * 60
LIFETIMES: Mapping[Purpose, int] = {
    "verify-email": 24 * HOUR,
    "change-email": 24 * HOUR,
    "stop-email-change": 24 * HOUR,
    "reset-password": HOUR,
}
"""Seconds."""
SIZE = 32
"""Random bytes of a token: too many to guess, so that a fast hash is enough to protect it."""

UNKNOWN = Fault("This token is unknown, has been used or has expired", "token", pointer="/token")


class NewToken(NamedTuple):
    """A token as it is sent in a link, and as it is stored."""

    text: str
    stored: OneTimeToken


def new(purpose: Purpose, user_id: str, email: NormalisedEmail) -> NewToken:
    """Return a new token of an account, to be sent to an address."""
    text, now = base64url.encode(os.urandom(SIZE)), clock.now()
    expires_at = clock.shifted(now, LIFETIMES[purpose])
    return NewToken(text, OneTimeToken(user_id, purpose, hash_of(text), email.address, email.key, now, expires_at))


def hash_of(text: str) -> bytes:
    """Return the hash of a token, which is what the database stores."""
    return hashlib.sha256(text.encode()).digest()
