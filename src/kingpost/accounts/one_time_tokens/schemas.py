"""The token of a link, as a field of request bodies, and its record in an account's export."""

from typing import Annotated

import msgspec
from msgspec import Meta

from kingpost.http.app.fields import Email, Time

MailedToken = Annotated[
    str,
    Meta(
        max_length=256,
        description="The token in the link that was sent by mail.",
        examples=["kQx1ZtB0d3Jm5q8uVw2yA4c6e9g7h0jLnPrTsXzKbMo"],
    ),
]


class ExportedToken(msgspec.Struct, frozen=True):
    """A link that was sent by mail and has not been used yet, and the client that asked for it."""

    purpose: Annotated[str, Meta(examples=["verify-email"])]
    email: Email
    created_at: Time
    expires_at: Time
    address: Annotated[str, Meta(examples=["192.0.2.1"])] | None
    device: Annotated[str, Meta(examples=["curl/8.14.1"])] | None
