"""What requests for mail hold, and their answer."""

from typing import Annotated

import msgspec
from msgspec import Meta

from kingpost.http.app.fields import Email


class ResendVerification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which address is to be verified. Without a body it is the caller's own."""

    email: Email


class ForgotPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose password was forgotten."""

    email: Email


class Accepted(msgspec.Struct, frozen=True):
    """The same for every address: if there is something to do, a mail tells."""

    message: Annotated[str, Meta(examples=["If there is something to do, a mail will say so: look into the mailbox."])]
