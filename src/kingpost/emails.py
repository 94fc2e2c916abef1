"""E-mail addresses: which are accepted, and when two of them are the same account's."""

import unicodedata
from typing import NamedTuple

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, ValidatedEmail, validate_email

from kingpost.problems import Fault

# The library's documented switch: it would refuse `localhost`, `.test`, `.local` and the like, which
# intranets and tests do use.
SPECIAL_USE_DOMAIN_NAMES.clear()

LONGEST = 254
"""Characters of an address (RFC 5321, sections 4.5.3.1.3 and 4.1.2: a path of 256 without its brackets)."""


class InvalidEmail(ValueError):
    """Not an address that Kingpost accepts. The message is a sentence that repeats nothing of the input."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class NormalisedEmail(NamedTuple):
    """An accepted address: as it is shown and written to, and as it is compared."""

    address: str
    key: str


def address(text: str) -> NormalisedEmail:
    """Check an address and find the key under which no two accounts may meet.

    Syntax only (RFC 5321 and 6531, no quoted local parts, no address literals): whether mail arrives is
    learned by sending one. Names such as `localhost` and `.test` are accepted. In the key the local part is
    NFKC and case-folded, the domain lower-case ASCII (RFC 5890): capitals, full-width forms and
    `bücher.example` for `xn--bcher-kva.example` make no second account; letters that only look alike do.
    Compatibility forms are not kept in the address either: who signs up with full-width letters must not get
    the mail of an account whose plain letters are another's.

    Raises:
        InvalidEmail: it is not one.
    """
    # Before anything else: normalising an endless text costs more than it is worth.
    if len(text) > LONGEST:
        raise InvalidEmail("too_long", f"An e-mail address has at most {LONGEST} characters")
    valid = _valid(text)
    plain = unicodedata.normalize("NFKC", valid.local_part)
    if plain != valid.local_part:
        valid = _valid(f"{plain}@{valid.domain}")
    domain = (valid.ascii_domain or valid.domain).lower()
    return NormalisedEmail(valid.normalized, f"{comparable(valid.local_part)}@{domain}")


def _valid(text: str) -> ValidatedEmail:
    try:
        return validate_email(text, check_deliverability=False, globally_deliverable=False, strict=True)
    except EmailNotValidError:
        raise InvalidEmail("email", "This is not a valid e-mail address") from None


def email_faults(text: str) -> list[Fault]:
    """What is wrong with an address in the member `email` of a body."""
    try:
        address(text)
    except InvalidEmail as error:
        return [Fault(error.detail, error.code, pointer="/email")]
    return []


def comparable(text: str) -> str:
    """A text as it is compared: compatibility forms and case folded away (Unicode, D146: NFKC twice)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
