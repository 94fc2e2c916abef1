"""Validate e-mail addresses, and decide whether two of them belong to the same account."""

import unicodedata
from typing import NamedTuple

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, ValidatedEmail, validate_email

from kingpost.problems import Fault

# Accept special-use domains such as `localhost`, `.test` and `.local`, which intranets and tests use. Clearing this
# list is the documented way to do so.
SPECIAL_USE_DOMAIN_NAMES.clear()

MAX_LENGTH = 254
"""Characters of an address (RFC 5321, sections 4.5.3.1.3 and 4.1.2: a path of 256 without its angle brackets)."""


class InvalidEmail(ValueError):
    """An e-mail address is invalid. The message is a sentence that does not quote the address."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class NormalisedEmail(NamedTuple):
    """A valid address: `address` is shown and receives mail, `key` is compared."""

    address: str
    key: str


def address(text: str) -> NormalisedEmail:
    """Validate an address and return it with its key. Two accounts cannot have the same key.

    Only the syntax is checked (RFC 5321 and 6531, without quoted local parts and address literals). Domains such
    as `localhost` and `.test` are valid.

    In the key, the local part is NFKC-normalised and case-folded, and the domain is lower-case ASCII (RFC 5890).
    So addresses that differ only in case, in full-width letters, or in `bücher.example` for
    `xn--bcher-kva.example` have the same key. Letters that only look alike have different keys.

    The returned address is NFKC-normalised too. Otherwise mail for an address in full-width letters could go to a
    different mailbox than mail for the same address in plain letters.

    Raises:
        InvalidEmail: the address is invalid.
    """
    # Check the length first: normalising a very long text is expensive.
    if len(text) > MAX_LENGTH:
        raise InvalidEmail("too_long", f"An e-mail address can have at most {MAX_LENGTH} characters")
    valid = _valid(text)
    local_part = unicodedata.normalize("NFKC", valid.local_part)
    if local_part != valid.local_part:
        valid = _valid(f"{local_part}@{valid.domain}")
    domain = (valid.ascii_domain or valid.domain).lower()
    return NormalisedEmail(valid.normalized, f"{comparable(valid.local_part)}@{domain}")


def _valid(text: str) -> ValidatedEmail:
    try:
        return validate_email(text, check_deliverability=False, globally_deliverable=False, strict=True)
    except EmailNotValidError:
        raise InvalidEmail("email", "This is not a valid e-mail address") from None


def email_faults(text: str) -> list[Fault]:
    """Return the faults of an address in the field `email` of a body."""
    try:
        address(text)
    except InvalidEmail as error:
        return [Fault(error.detail, error.code, pointer="/email")]
    return []


def comparable(text: str) -> str:
    """Normalise a text for comparison: fold compatibility forms and case (Unicode, D146: NFKC twice)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
