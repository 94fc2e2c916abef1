"""What a verification holds."""

import msgspec

from kingpost.accounts.one_time_tokens.schemas import MailedToken


class VerifyEmail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Proof that one reads an address: it is verified, or becomes the account's."""

    token: MailedToken
