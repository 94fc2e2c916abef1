"""The handler of mail jobs: opens one, fills its template, and hands the message over."""

from pathlib import Path

from jinja2 import TemplateError

from kingpost.emails import InvalidEmail
from kingpost.jobs.sealing import GiveUp, JobSealer, TryLater
from kingpost.jobs.store import ClaimedJob
from kingpost.mail import Mail
from kingpost.mail.envelope import Sender, Transport
from kingpost.mail.outbox import Outbox
from kingpost.mail.smtp import SMTPTransport
from kingpost.mail.templates import Templates
from kingpost.settings import Settings


class Delivery:
    """Delivers messages."""

    def __init__(self, sealer: JobSealer, templates: Templates, transport: Transport, sender: Sender) -> None:
        self._sealer = sealer
        self._templates = templates
        self._transport = transport
        self._sender = sender

    @classmethod
    def of(cls, settings: Settings, sealer: JobSealer) -> "Delivery":
        """What the settings ask for.

        Raises:
            InvalidSettings: an operator's template is broken.
        """
        sender = Sender(settings.mail_from, settings.public_url)
        templates = Templates(settings.mail_templates, settings.public_url, sender.name or settings.service_name)
        scheme, _, directory = settings.mail_url.partition(":")
        transport: Transport
        if scheme == "file":
            transport = Outbox(Path(directory.removeprefix("//")).absolute())
        else:
            transport = SMTPTransport(settings.mail_url, sender.host)
        return cls(sealer, templates, transport, sender)

    async def deliver(self, claimed: ClaimedJob) -> None:
        """Send the message of a job.

        Raises:
            UnreadableJob: it was not sealed here.
            TryLater: it was not sent, but may be another time.
            GiveUp: it never will be.
        """
        mail = self._sealer.open(claimed.job, Mail)
        try:
            letter = self._templates.render(mail.template, mail.values)
        except TemplateError as error:
            # Only what the samples did not show: the operator mends the template, or the next release does.
            raise TryLater(f"the template {mail.template} cannot be used: {type(error).__name__}") from None
        try:
            envelope = self._sender.envelope(claimed.job, letter, mail.to)
        except InvalidEmail:
            raise GiveUp("the address cannot be written to") from None
        await self._transport.send(envelope)
