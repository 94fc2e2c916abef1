"""The handler of mail jobs: decrypts the payload, renders the template, and sends the message."""

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
    """Renders and sends the messages of mail jobs."""

    def __init__(self, sealer: JobSealer, templates: Templates, transport: Transport, sender: Sender) -> None:
        self._sealer = sealer
        self._templates = templates
        self._transport = transport
        self._sender = sender

    @classmethod
    def of(cls, settings: Settings, sealer: JobSealer) -> "Delivery":
        """Return a delivery with the templates and the transport that the settings name.

        Raises:
            InvalidSettings: a template of the operator is broken.
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
            UnreadableJob: the payload cannot be decrypted.
            TryLater: the message was not sent, but another attempt may succeed.
            GiveUp: no attempt can succeed.
        """
        mail = self._sealer.open(claimed.job, Mail)
        try:
            rendered = self._templates.render(mail.template, mail.values)
        except TemplateError as error:
            # The template rendered with the sample values at start-up, so it needs a fix: by the operator if the
            # template is theirs, else by the next release.
            raise TryLater(f"the template {mail.template} cannot be rendered: {type(error).__name__}") from None
        try:
            envelope = self._sender.envelope(claimed.job, rendered, mail.to)
        except InvalidEmail:
            raise GiveUp("the recipient's address is not valid") from None
        await self._transport.send(envelope)
