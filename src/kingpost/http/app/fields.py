"""Kinds of values that several bodies hold, with their rules and examples."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

END = r"(?!\n)$"
"""The end of a pattern: in Python `$` alone also matches before a line feed at the end."""

Id = Annotated[
    str,
    Meta(
        pattern="^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        description="A UUIDv7 in lower case.",
        examples=["019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"],
        extra_json_schema={"format": "uuid"},
    ),
]

Time = Annotated[
    str,
    Meta(
        description="RFC 3339, UTC, with milliseconds.",
        examples=["2026-11-22T10:15:30.123Z"],
        extra_json_schema={"format": "date-time"},
    ),
]

Email = Annotated[
    str,
    Meta(max_length=254, examples=["ada@example.com"], extra_json_schema={"format": "email"}),
]

Password = Annotated[
    str,
    Meta(
        description="8 to 256 characters, not on the list of common passwords, without the e-mail's local part.",
        examples=["correct horse battery"],
        extra_json_schema={"format": "password", "minLength": 8, "maxLength": 256},
    ),
]

AnyPassword = Annotated[str, Meta(examples=["correct horse battery"], extra_json_schema={"format": "password"})]

DisplayName = Annotated[str, Meta(max_length=200, examples=["Ada Lovelace"])]

_USER_METADATA = Meta(description="The user's own JSON object, 4 KiB at most.", examples=[{"theme": "dark"}])

UserMetadata = Annotated[dict[str, Any], _USER_METADATA]

StoredMetadata = Annotated[msgspec.Raw, _USER_METADATA, Meta(extra_json_schema={"type": "object"})]
"""The same as it comes from storage: JSON text that is handed through."""

Role = Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{0,62}" + END, examples=["user"])]

Roles = Annotated[tuple[Role, ...], Meta(max_length=32)]

TypeName = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z][A-Za-z0-9_.-]{0,62}" + END,
        description="What kind of resource this is: a letter, then letters, digits, `_`, `.` and `-`.",
        examples=["movie"],
    ),
]

Data = Annotated[
    dict[str, Any],
    Meta(description="The document itself: any JSON object.", examples=[{"title": "Alien", "year": 1979}]),
]

AccessToken = Annotated[
    str,
    Meta(
        description="A JWT (RFC 9068), to be sent as `Authorization: Bearer …`.",
        examples=["eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIwMTlhYmMzZSJ9.c2lnbmF0dXJl"],
    ),
]

RefreshToken = Annotated[str, Meta(description="Opaque. Each one can be exchanged once.", max_length=1024)]

REFRESH_TOKENS = ["kQx1ZtB0d3Jm5q8uVw2yA4c6e9g7h0jLnPrTsXzKbMo"]

Cursor = Annotated[
    str,
    Meta(
        description="Where the next page starts; null on the last page. Opaque, bound to this query.",
        examples=["gqRwYWdlAg"],
    ),
]
