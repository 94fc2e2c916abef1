"""One-time tokens for links in mail. The mail contains the token, the database only its hash."""

import hashlib
import os
from collections.abc import Mapping
from typing import NamedTuple

from kingpost import base64url, clock
from kingpost.accounts.one_time_tokens.store import OneTimeToken, Purpose
from kingpost.emails import NormalisedEmail
from kingpost.model import Origin
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

    @property
    def values(self) -> dict[str, str]:
        """The values that a message needs which says who asked for it.

        The device is not among them: anyone can send a message to any address by signing up with it, and must not
        write any part of it.
        """
        asked_at = clock.to_the_minute(self.stored.created_at)
        return {"token": self.text, "asked_at": asked_at, "asked_from": self.stored.address or "an unknown address"}


def new(purpose: Purpose, user_id: str, email: NormalisedEmail, origin: Origin) -> NewToken:
    """Return a new token of an account, to be sent to an address. `origin` is where it is asked for."""
    text, now = base64url.encode(os.urandom(SIZE)), clock.now()
    expires_at = clock.shifted(now, LIFETIMES[purpose])
    times, asked_from = (now, expires_at), (origin.address, origin.device)
    stored = OneTimeToken(user_id, purpose, hash_of(text), email.address, email.key, *times, *asked_from)
    return NewToken(text, stored)


def hash_of(text: str) -> bytes:
    """Return the hash of a token, which is what the database stores."""
    return hashlib.sha256(text.encode()).digest()
