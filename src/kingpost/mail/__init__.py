"""Mail: a message is sealed as a job beside its cause, and delivered afterwards (`delivery.py`)."""

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

from kingpost.jobs.sealing import JobSealer
from kingpost.jobs.store import SealedJob

KIND = "mail"
"""The kind of jobs that are messages."""

type TemplateName = Literal[
    "verify-email",
    "set-password",
    "reset-password",
    "confirm-new-email",
    "email-changed",
    "password-changed",
    "second-factor-enabled",
    "second-factor-disabled",
    "api-key-created",
]

TEMPLATES: tuple[TemplateName, ...] = get_args(TemplateName.__value__)

VALUES: Mapping[TemplateName, frozenset[str]] = dict.fromkeys(TEMPLATES, frozenset[str]()) | {
    "verify-email": frozenset({"token"}),
    "set-password": frozenset({"token"}),
    "reset-password": frozenset({"token"}),
    "confirm-new-email": frozenset({"token"}),
    "email-changed": frozenset({"new_email"}),
    "api-key-created": frozenset({"hint"}),
}
"""What each message tells beside what all of them do."""


class Mail(msgspec.Struct, frozen=True):
    """What a mail job holds: which template, to whom, and what it is filled with."""

    template: TemplateName
    to: str
    values: dict[str, str]


class Messages:
    """Makes messages. They are stored as effects of their cause, and nothing is sent inside a request."""

    def __init__(self, sealer: JobSealer) -> None:
        self._sealer = sealer

    def job(self, template: TemplateName, to: str, user_id: str | None, **values: str) -> SealedJob:
        """A message to be sent once what causes it is stored.

        Args:
            template: what it says.
            to: the address as it is stored with the account, or will be.
            user_id: the account that it is about: with the account the message goes too.
            values: `VALUES` names those of each template. A `new_email` is masked: who reads the old mailbox
                may be another person.

        Raises:
            ValueError: these are not the template's values.
        """
        if values.keys() != VALUES[template]:
            raise ValueError(f"{template} needs the values {sorted(VALUES[template])}, not {sorted(values)}")
        if "new_email" in values:
            values["new_email"] = masked(values["new_email"])
        return self._sealer.seal(KIND, Mail(template, to, values), user_id)


def masked(address: str) -> str:
    """An address by which only who knows it recognises it: `a***@example.com`."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}***@{domain}"
