"""Internet messages (RFC 5322), built deterministically: a retried job sends the same message again."""

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
MAX_LINE_LENGTH = 998
"""In characters, without CRLF (RFC 5322, section 2.1.1)."""


class RenderedMail(msgspec.Struct, frozen=True):
    """The subject of a message, and its body in plain text and in HTML."""

    subject: str
    text: str
    html: str


class Envelope(msgspec.Struct, frozen=True):
    """A message with its sender and recipient.

    `name` is the job's id, so it is the same in every attempt. `is_international` means that the message can only
    be sent to a server with SMTPUTF8 (RFC 6531).
    """

    name: str
    sender: str
    recipient: str
    content: bytes
    is_international: bool


class Transport(Protocol):
    """A way to send messages."""

    async def send(self, envelope: Envelope) -> None:
        """Send a message. When this returns, the receiving side is responsible for it.

        Raises:
            TryLater: another attempt may succeed.
            GiveUp: no attempt can succeed.
        """
        ...


class Sender:
    """The sender of all messages: `KINGPOST_MAIL_FROM`, and the host of the public URL."""

    def __init__(self, mail_from: str, public_url: str) -> None:
        display_name, _, mailbox = mail_from.rpartition(" <")
        self.address = mailbox.removesuffix(">")
        host = ascii_host(public_url)
        self.host = f"[{'IPv6:' if ':' in host else ''}{host}]" if is_address(host) else host
        """The host in the form for message ids and greetings (RFC 5321, section 4.1.3)."""
        self.name = display_name
        """The display name in `KINGPOST_MAIL_FROM`; may be empty."""
        self._header = Address(display_name, addr_spec=self.address)

    def envelope(self, job: SealedJob, rendered: RenderedMail, to: str) -> Envelope:
        """Return the message of a job.

        Its message id, boundary and date derive from the job, so a mailbox that receives it twice can detect the
        duplicate. The domain is written in ASCII (RFC 5890). So only a local part that is not ASCII makes the
        message international.

        Raises:
            InvalidEmail: `to` is not a valid address.
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
        message["Subject"] = SPACES.sub(" ", rendered.subject).strip()
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(rendered.text, cte=_encoding(rendered.text))
        message.add_alternative(rendered.html, subtype="html", cte=_encoding(rendered.html))
        message.set_boundary(f"=_{job.id}")
        return Envelope(job.id, self.address, f"{local}@{domain}", message.as_bytes(), is_international)


def _encoding(text: str) -> str:
    """Return the transfer encoding of a body part: 7bit if possible, so that links in the outbox stay readable."""
    is_plain = text.isascii() and all(len(line) <= MAX_LINE_LENGTH for line in text.splitlines())
    return "7bit" if is_plain else "quoted-printable"
