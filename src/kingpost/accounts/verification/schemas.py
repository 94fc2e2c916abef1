"""The request bodies of links about addresses."""

import msgspec

from kingpost.accounts.one_time_tokens.schemas import MailedToken


class VerifyEmail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Proof of access to a mailbox. The address becomes verified, or becomes the account's new address."""

    token: MailedToken


class StopEmailChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Proof of access to the mailbox of the present address, which stays the address of the account."""

    token: MailedToken
