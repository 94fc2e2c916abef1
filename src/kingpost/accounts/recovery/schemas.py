"""The request body of a password reset."""

from typing import Annotated

import msgspec
from msgspec import Meta

from kingpost.accounts.one_time_tokens.schemas import MailedToken
from kingpost.http.app.fields import Password


class ResetPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new password, and proof of access to the account's mailbox."""

    token: MailedToken
    new_password: Annotated[Password, Meta(examples=["staple battery horse"])]
    keep_api_keys: Annotated[bool, Meta(description="Do not end the API keys of the account.", examples=[False])] = (
        False
    )
