"""A message as it goes over the wire (RFC 5322), made so that sending it twice gives the same message twice."""

import re
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from typing import Protocol

import msgspec

from kingpost.emails import address
from kingpost.jobs.store import SealedJob
from kingpost.settings import ascii_host, is_address

SPACES = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
LONGEST_LINE = 998
"""Characters (RFC 5322, section 2.1.1)."""


class Letter(msgspec.Struct, frozen=True):
    """What a message says, once in plain text and once in HTML."""

    subject: str
    text: str
    html: str


class Envelope(msgspec.Struct, frozen=True):
    """A message and where it goes.

    `name` is the same whenever the message is made anew. `is_international` says that it can only be
    handed to a server that knows SMTPUTF8 (RFC 6531).
    """

    name: str
    sender: str
    recipient: str
    content: bytes
    is_international: bool


class Transport(Protocol):
    """Where messages go."""

    async def send(self, envelope: Envelope) -> None:
        """Hand a message over for good.

        Raises:
            TryLater: it may well work another time.
            GiveUp: it never will.
        """
        ...


class Sender:
    """Who writes: `KINGPOST_MAIL_FROM` and the host of the public address."""

    def __init__(self, mail_from: str, public_url: str) -> None:
        display_name, _, mailbox = mail_from.rpartition(" <")
        self.address = mailbox.removesuffix(">")
        host = ascii_host(public_url)
        self.host = f"[{'IPv6:' if ':' in host else ''}{host}]" if is_address(host) else host
        """The host as it stands in message ids and greetings (RFC 5321, section 4.1.3)."""
        self.name = display_name
        """What `KINGPOST_MAIL_FROM` calls the sender; may be empty."""
        self._header = Address(display_name, addr_spec=self.address)

    def envelope(self, job: SealedJob, letter: Letter, to: str) -> Envelope:
        """The message of a job.

        Its id and boundary derive from the job and its date is the job's, so a mailbox that gets it twice can tell.
        The domain is written in ASCII (RFC 5890); only a local part that is not needs an international message.

        Raises:
            InvalidEmail: `to` cannot be written to.
        """
        local, _, _ = to.rpartition("@")
        domain = address(to).key.rpartition("@")[2]
        is_international = not local.isascii()
        policy = SMTPUTF8 if is_international else SMTP
        message = EmailMessage(policy)
        message["Date"] = datetime.fromisoformat(job.created_at)
        message["From"] = self._header
        message["To"] = Address(username=local, domain=domain)
        message["Message-ID"] = f"<{job.id}@{self.host}>"
        message["Subject"] = SPACES.sub(" ", letter.subject).strip()
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(letter.text, cte=_encoding(letter.text))
        message.add_alternative(letter.html, subtype="html", cte=_encoding(letter.html))
        message.set_boundary(f"=_{job.id}")
        return Envelope(job.id, self.address, f"{local}@{domain}", message.as_bytes(), is_international)


def _encoding(text: str) -> str:
    """How a part is encoded: as it is where that is allowed, so that people and scripts read links in the outbox."""
    is_plain = text.isascii() and all(len(line) <= LONGEST_LINE for line in text.splitlines())
    return "7bit" if is_plain else "quoted-printable"
