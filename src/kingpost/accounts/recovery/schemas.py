"""What proving an address and choosing a new password sends and gets."""

from typing import Annotated

import msgspec
from msgspec import Meta

from kingpost.http.app.fields import Email, Password

MailedToken = Annotated[
    str,
    Meta(
        max_length=256,
        description="The token of the link in the mail.",
        examples=["kQx1ZtB0d3Jm5q8uVw2yA4c6e9g7h0jLnPrTsXzKbMo"],
    ),
]


class VerifyEmail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Proof that one reads an address: it is verified, or becomes the account's."""

    token: MailedToken


class ResendVerification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which address is to be verified. Without a body it is the caller's own."""

    email: Email


class ForgotPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose password was forgotten."""

    email: Email


class ResetPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new password, and proof that one reads the account's mail."""

    token: MailedToken
    new_password: Annotated[Password, Meta(examples=["staple battery horse"])]


class Accepted(msgspec.Struct, frozen=True):
    """The same for every address: if there is something to do, a mail tells."""

    message: Annotated[str, Meta(examples=["If there is something to do, a mail will say so: look into the mailbox."])]
