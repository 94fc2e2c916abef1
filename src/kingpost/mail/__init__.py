"""Mail: each message is enqueued as a job with the write that causes it, and delivered later (`delivery.py`)."""

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

from kingpost.jobs.sealing import JobSealer
from kingpost.jobs.store import SealedJob

KIND = "mail"
"""The kind of jobs that deliver a message."""

type TemplateName = Literal[
    "verify-email",
    "set-password",
    "reset-password",
    "confirm-new-email",
    "email-change-requested",
    "email-changed",
    "password-changed",
    "second-factor-enabled",
    "second-factor-disabled",
    "api-key-created",
]

TEMPLATES: tuple[TemplateName, ...] = get_args(TemplateName.__value__)

VALUES: Mapping[TemplateName, frozenset[str]] = dict.fromkeys(TEMPLATES, frozenset[str]()) | {
    "verify-email": frozenset({"token", "asked_at", "asked_from"}),
    "set-password": frozenset({"token"}),
    "reset-password": frozenset({"token"}),
    "confirm-new-email": frozenset({"token", "asked_at", "asked_from"}),
    "email-change-requested": frozenset({"token", "new_email"}),
    "email-changed": frozenset({"new_email"}),
    "api-key-created": frozenset({"hint"}),
    "password-changed": frozenset({"api_keys"}),
}
"""The values that each template needs, beside those that all templates get."""


class Mail(msgspec.Struct, frozen=True):
    """The payload of a mail job: the template, the recipient's address, and the template's values."""

    template: TemplateName
    to: str
    values: dict[str, str]


class Messages:
    """Makes mail jobs. They are stored as effects of a write, and no mail is sent inside a request."""

    def __init__(self, sealer: JobSealer) -> None:
        self._sealer = sealer

    def job(self, template: TemplateName, to: str, user_id: str | None, **values: str) -> SealedJob:
        """Return a job that sends a message.

        Args:
            template: the template of the message.
            to: the recipient's address.
            user_id: the account that the message is about. Deleting the account deletes the job.
            values: the values that `VALUES` names for the template. `new_email` is masked, because another person
                may read the old mailbox. `api_keys` is `kept` or `revoked`.
                `asked_at` and `asked_from` say when and from which client address the message was asked for.

        Raises:
            ValueError: `values` are not those that the template needs.
        """
        if values.keys() != VALUES[template]:
            raise ValueError(f"{template} needs the values {sorted(VALUES[template])}, not {sorted(values)}")
        if "new_email" in values:
            values["new_email"] = masked(values["new_email"])
        return self._sealer.seal(KIND, Mail(template, to, values), user_id)


def masked(address: str) -> str:
    """Return an address in a form that only people who know it recognise, such as `a***@example.com`."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}***@{domain}"
