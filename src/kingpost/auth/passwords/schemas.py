"""What requests about passwords hold."""

from typing import Annotated

import msgspec
from msgspec import Meta

from kingpost.http.app.fields import AnyPassword, Password


class ChangePassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new password, and the present one as proof."""

    current_password: AnyPassword
    new_password: Annotated[Password, Meta(examples=["staple battery horse"])]
