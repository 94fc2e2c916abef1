"""The request body of a sign-up."""

import msgspec

from kingpost.accounts.users.schemas import DisplayName, UserMetadata
from kingpost.http.app.fields import Email, Password


class SignUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new account."""

    email: Email
    password: Password
    name: DisplayName | None = None
    metadata: UserMetadata = {}
