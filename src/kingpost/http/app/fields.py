"""Field types that several bodies share, with their constraints and examples."""

from typing import Annotated

from msgspec import Meta

END = r"(?!\n)$"
"""The end of a pattern. In Python, `$` alone also matches before a trailing line feed."""

Id = Annotated[
    str,
    Meta(
        pattern="^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        description="A UUIDv7 in lower case.",
        examples=["019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"],
        extra_json_schema={"format": "uuid"},
    ),
]

ID_PATTERN = "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
"""An id in a query or a path, where capitals are accepted (RFC 9562, section 4)."""
LOWERED = "lowered"
"""The key in the `Meta.extra` of a query parameter whose value is converted to lower case. Its value describes the
parameter, as the end of "The parameter must …"."""

QueryId = Annotated[str, Meta(pattern=f"^{ID_PATTERN}{END}", extra={LOWERED: "be a UUID"})]

Time = Annotated[
    str,
    Meta(
        description="An RFC 3339 time in UTC with milliseconds.",
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
        description="8 to 256 characters. It must not be a common password or contain the local part of the address.",
        examples=["correct horse battery"],
        extra_json_schema={"format": "password", "minLength": 8, "maxLength": 256},
    ),
]

AnyPassword = Annotated[str, Meta(examples=["correct horse battery"], extra_json_schema={"format": "password"})]

OneTimeCode = Annotated[
    str,
    Meta(
        max_length=64,
        description="A code of six digits from the authenticator app, or a recovery code. Each code works once.",
        examples=["287082"],
    ),
]

ProofCode = Annotated[OneTimeCode, Meta(description="Required if the account has a second factor.")]
"""The code beside a password that proves ownership."""

Cursor = Annotated[
    str,
    Meta(
        description="The cursor of the next page; null on the last page. It is opaque and valid for this query only.",
        examples=["gqRwYWdlAg"],
    ),
]
