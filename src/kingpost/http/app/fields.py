"""Kinds of values that several bodies hold, with their rules and examples."""

from typing import Annotated

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

Cursor = Annotated[
    str,
    Meta(
        description="Where the next page starts; null on the last page. Opaque, bound to this query.",
        examples=["gqRwYWdlAg"],
    ),
]
