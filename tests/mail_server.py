"""A real mail server for the tests: aiosmtpd on a socket, in its own thread."""

import ssl
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from urllib.parse import quote

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.servers import free_port
from tests.system.certificates import Certificate

USER, PASSWORD = "kingpost", "the mail password: /?#@"
QUOTED_PASSWORD = quote(PASSWORD, safe="")


class MailServer:
    """Accepts messages, or refuses them with the given replies. It can stop, and restart on the same port."""

    def __init__(self, certificate: Certificate | None = None, *, is_implicit: bool = False, **options: Any) -> None:
        """`options` are aiosmtpd's. With a certificate it offers STARTTLS, or speaks TLS only."""
        self.port = free_port()
        self.received: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.sessions: list[Session] = []
        self.recipient_replies: Iterable[str] = iter(())
        """What the next RCPT commands are answered; all others are accepted."""
        self.data_replies: Iterable[str] = iter(())
        self.sender_replies: Iterable[str] = iter(())
        self._certificate = certificate
        self._is_implicit = is_implicit
        self._options = {"enable_SMTPUTF8": True} | options
        self._controller: Controller | None = None

    def start(self) -> None:
        options = dict(self._options)
        context = None
        if self._certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*self._certificate)
            if not self._is_implicit:
                options["tls_context"] = context
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            ssl_context=context if self._is_implicit else None,
            **options,
        )
        self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    # --- called by aiosmtpd ---

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return next(iter(self.sender_replies), "250 OK")

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = next(iter(self.recipient_replies), "250 OK")
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        reply = next(iter(self.data_replies), "250 OK")
        if reply.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.received.append(message_from_bytes(envelope.content, policy=policy.default))
            self.envelopes.append(envelope)
            self.sessions.append(session)
        return reply


def only_with_password(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    """An authenticator that accepts one user."""
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)


@contextmanager
def running(certificate: Certificate | None = None, **options: Any) -> Generator[MailServer]:
    """Run a mail server during the block."""
    server = MailServer(certificate, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()
