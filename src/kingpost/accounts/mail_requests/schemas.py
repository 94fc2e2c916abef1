"""Request and response bodies of requests for mail."""

from typing import Annotated

import msgspec
from msgspec import Meta

from kingpost.http.app.fields import Email


class ResendVerification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The address to verify. Without a body, it is the caller's own."""

    email: Email


class ForgotPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The address of the account whose password was forgotten."""

    email: Email


class Accepted(msgspec.Struct, frozen=True):
    """The response, which is the same for every address. A message is sent only if the address needs one."""

    message: Annotated[
        str,
        Meta(examples=["The request was accepted. If there is a next step, it is sent by mail: check the mailbox."]),
    ]
