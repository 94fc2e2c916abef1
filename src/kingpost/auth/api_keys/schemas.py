"""Request and response bodies of API keys."""

from typing import Annotated, Self, cast

import msgspec
from msgspec import Meta

from kingpost.auth.api_keys.scopes import EXPLANATIONS, SCOPES, Scope
from kingpost.auth.api_keys.store import APIKey
from kingpost.http.app.fields import AnyPassword, Id, ProofCode, Time

_SCOPES_EXAMPLE = ["resources:read", "resources:write"]

Name = Annotated[str, Meta(min_length=1, max_length=100, description="Its purpose.", examples=["nightly import"])]

Scopes = Annotated[
    tuple[Scope, ...],
    Meta(
        min_length=1,
        max_length=len(SCOPES),
        description="What the key may do, within the permissions of its owner. "
        + " ".join(f"`{scope}`: {explanation}" for scope, explanation in EXPLANATIONS.items()),
        examples=[_SCOPES_EXAMPLE],
        extra_json_schema={"uniqueItems": True},
    ),
]

Hint = Annotated[str, Meta(description="The first characters of the key, to recognise it by.", examples=["kp_5fQx"])]

ExpiresAt = Annotated[
    str,
    Meta(
        max_length=64,
        description="RFC 3339, with any offset; one year from now at the latest. If null or absent: one year.",
        examples=["2027-01-31T23:59:59Z"],
        extra_json_schema={"format": "date-time"},
    ),
]

LastUsedAt = Annotated[
    str,
    Meta(
        description="The time of the last use, to the minute; the first use is shown at once. Null if never used.",
        examples=["2026-11-22T10:15:30.123Z"],
        extra_json_schema={"format": "date-time"},
    ),
]

Key = Annotated[
    str,
    Meta(
        description="The key, shown only once. Send it as `Authorization: Bearer …`, and protect it like a password.",
        # The checksum is wrong on purpose, so that secret scanners do not report the document.
        examples=["kp_5fQx0Zb81mWcT7vKd2YhNpR4sJu9EaLgX3oViBwM6tC000000"],
        pattern="^kp_[0-9A-Za-z]{49}$",
    ),
]


class CreateAPIKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new API key, and proof of ownership."""

    name: Name
    scopes: Scopes
    password: AnyPassword
    otp: ProofCode | None = None
    expires_at: ExpiresAt | None = None


class APIKeyBody(msgspec.Struct, frozen=True):
    """An API key, without the key itself."""

    id: Id
    name: Name
    scopes: Scopes
    hint: Hint
    created_at: Time
    expires_at: Time
    last_used_at: LastUsedAt | None

    @classmethod
    def of(cls, key: APIKey, /, **additional_fields: str) -> Self:
        """Return the body for a key. `additional_fields` are those of a subclass."""
        scopes = cast(tuple[Scope, ...], key.scopes)
        times = key.created_at, key.expires_at, key.last_used_at
        return cls(key.id, key.name, scopes, key.hint, *times, **additional_fields)


class CreatedAPIKeyBody(APIKeyBody, frozen=True):
    """A new API key, with the key itself."""

    key: Key


class APIKeyList(msgspec.Struct, frozen=True):
    """All your API keys, newest first, including expired ones. There is only one page."""

    items: list[APIKeyBody]
    next_cursor: None


class ExportedKey(msgspec.Struct, frozen=True):
    """An API key. The key itself is not stored; `hint` is its first characters."""

    id: Id
    name: Annotated[str, Meta(max_length=200, examples=["Ada Lovelace"])]
    scopes: Annotated[list[str], Meta(examples=[["resources:read"]])]
    hint: Annotated[str, Meta(examples=["kp_7fQ2"])]
    created_at: Time
    expires_at: Time
    last_used_at: Time | None

    @classmethod
    def of(cls, key: APIKey) -> "ExportedKey":
        times = key.created_at, key.expires_at, key.last_used_at
        return cls(key.id, key.name, list(key.scopes), key.hint, *times)
