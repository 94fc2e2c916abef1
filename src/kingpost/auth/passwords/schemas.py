"""The request body of a change of password."""

from typing import Annotated

import msgspec
from msgspec import Meta

from kingpost.http.app.fields import AnyPassword, Password, ProofCode


class ChangePassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new password, and proof of ownership."""

    current_password: AnyPassword
    new_password: Annotated[Password, Meta(examples=["staple battery horse"])]
    otp: ProofCode | None = None
