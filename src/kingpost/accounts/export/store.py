"""The port that stores what is kept about one account, to be given to whom it is about."""

from typing import Protocol

import msgspec

from kingpost.model import User


class SessionRecord(msgspec.Struct, frozen=True):
    """A sign-in. Of one that has ended little is left: that it was."""

    id: str
    device: str | None
    address: str | None
    created_at: str
    last_used_at: str
    expires_at: str
    ended_at: str | None


class KeyRecord(msgspec.Struct, frozen=True):
    """An API key, without the key."""

    id: str
    name: str
    scopes: tuple[str, ...]
    hint: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class SecondFactorRecord(msgspec.Struct, frozen=True):
    """A second factor, without its secret. `confirmed_at` is None until it is in force."""

    created_at: str
    confirmed_at: str | None
    recovery_codes_left: int


class TokenRecord(msgspec.Struct, frozen=True):
    """A link that was sent and not used yet, without its token."""

    purpose: str
    email: str
    created_at: str
    expires_at: str


class JobRecord(msgspec.Struct, frozen=True):
    """Work that waits: a message to be sent, for one. What it holds is sealed."""

    id: str
    kind: str
    created_at: str
    attempts: int


class AccountRecords(msgspec.Struct, frozen=True):
    """All that is kept about an account, but for its resources and the audit log, which may be long.

    No password, secret, token or code is in it, and no hash of one.
    """

    user: User
    sessions: list[SessionRecord]
    api_keys: list[KeyRecord]
    second_factor: SecondFactorRecord | None
    one_time_tokens: list[TokenRecord]
    jobs: list[JobRecord]


class RecordStore(Protocol):
    """What is kept about accounts, whatever the table."""

    async def find(self, user_id: str) -> AccountRecords | None:
        """The records of an account, oldest first of each kind; None where there is no such account."""
        ...
