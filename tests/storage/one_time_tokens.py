"""One-time tokens for the storage tests."""

import secrets

from kingpost.accounts.one_time_tokens.store import OneTimeToken, Purpose
from kingpost.model import User
from tests.nodes import Node

AT = "2026-11-22T10:15:30.123Z"
SOON = "2026-11-22T11:15:30.123Z"
"""The times at which tokens are issued and expire."""
PURPOSES: tuple[Purpose, ...] = ("verify-email", "change-email", "reset-password", "stop-email-change")


def new_token(user: User, purpose: Purpose = "verify-email", *, email: str | None = None) -> OneTimeToken:
    email = email or user.email
    return OneTimeToken(user.id, purpose, secrets.token_bytes(32), email, email.lower(), AT, SOON)


async def add_token(
    storage: Node, user: User, purpose: Purpose = "verify-email", *, email: str | None = None
) -> OneTimeToken:
    token = new_token(user, purpose, email=email)
    await storage.one_time_tokens.issue(token)
    return token
