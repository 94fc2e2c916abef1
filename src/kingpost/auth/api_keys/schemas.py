"""What requests and responses about API keys hold."""

from typing import Annotated, Self, cast

import msgspec
from msgspec import Meta

from kingpost.auth.api_keys.scopes import EXPLANATIONS, SCOPES, Scope
from kingpost.auth.api_keys.store import APIKey
from kingpost.http.app.fields import Id, Time

_SCOPES_EXAMPLE = ["resources:read", "resources:write"]

Name = Annotated[str, Meta(min_length=1, max_length=100, description="What it is for.", examples=["nightly import"])]

Scopes = Annotated[
    tuple[Scope, ...],
    Meta(
        min_length=1,
        max_length=len(SCOPES),
        description="What it may be used for, as far as its owner may. "
        + " ".join(f"`{scope}`: {explanation}" for scope, explanation in EXPLANATIONS.items()),
        examples=[_SCOPES_EXAMPLE],
        extra_json_schema={"uniqueItems": True},
    ),
]

Hint = Annotated[str, Meta(description="How the key starts, to tell it by.", examples=["kp_5fQx"])]

ExpiresAt = Annotated[
    str,
    Meta(
        max_length=64,
        description="RFC 3339, with any offset, in the future. Null or absent: it never expires.",
        examples=["2099-12-31T23:59:59Z"],
        extra_json_schema={"format": "date-time"},
    ),
]

LastUsedAt = Annotated[
    str,
    Meta(
        description="When it was last used, to the minute; the first use is told at once. Null: never.",
        examples=["2026-11-22T10:15:30.123Z"],
        extra_json_schema={"format": "date-time"},
    ),
]

Key = Annotated[
    str,
    Meta(
        description="The key, shown this once. To be sent as `Authorization: Bearer …`, and kept as a password is.",
        # Its check is wrong on purpose: no scanner shall report the document.
        examples=["kp_5fQx0Zb81mWcT7vKd2YhNpR4sJu9EaLgX3oViBwM6tC000000"],
        pattern="^kp_[0-9A-Za-z]{49}$",
    ),
]


class CreateAPIKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key to make."""

    name: Name
    scopes: Scopes
    expires_at: ExpiresAt | None = None


class APIKeyBody(msgspec.Struct, frozen=True):
    """A machine's credentials, without the key itself."""

    id: Id
    name: Name
    scopes: Scopes
    hint: Hint
    created_at: Time
    expires_at: Annotated[Time, Meta(description="Null: never.")] | None
    last_used_at: LastUsedAt | None

    @classmethod
    def of(cls, key: APIKey, /, **more: str) -> Self:
        """What is told of a key, with `more` where a subclass has more members."""
        scopes = cast(tuple[Scope, ...], key.scopes)
        times = key.created_at, key.expires_at, key.last_used_at
        return cls(key.id, key.name, scopes, key.hint, *times, **more)


class CreatedAPIKeyBody(APIKeyBody, frozen=True):
    """A new key."""

    key: Key


class APIKeyList(msgspec.Struct, frozen=True):
    """All your keys, newest first, expired ones included; there is never a next page."""

    items: list[APIKeyBody]
    next_cursor: None


class ExportedKey(msgspec.Struct, frozen=True):
    """An API key. The key itself is kept nowhere; `hint` is its start."""

    id: Id
    name: Annotated[str, Meta(max_length=200, examples=["Ada Lovelace"])]
    scopes: Annotated[list[str], Meta(examples=[["resources:read"]])]
    hint: Annotated[str, Meta(examples=["kp_7fQ2"])]
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None

    @classmethod
    def of(cls, key: APIKey) -> "ExportedKey":
        times = key.created_at, key.expires_at, key.last_used_at
        return cls(key.id, key.name, list(key.scopes), key.hint, *times)
