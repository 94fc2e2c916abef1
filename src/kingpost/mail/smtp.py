"""Mail over SMTP (RFC 5321): one connection per message, with TLS if the server offers it and with time-outs."""

import asyncio
import contextlib
import re
from collections.abc import Generator
from urllib.parse import parse_qs, unquote, urlsplit

from aiosmtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPDataError,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPResponseException,
)

from kingpost.jobs.sealing import GiveUp, TryLater
from kingpost.mail.envelope import Envelope

REPLY_TIMEOUT = 30.0
"""Seconds to wait for one reply of the server."""
TOTAL_TIMEOUT = 50.0
"""Seconds for the whole conversation: less than the time limit of a job."""
QUIT_TIMEOUT = 2.0
"""Seconds to wait for the reply to QUIT. The message has been accepted by then, so a failure is ignored."""
ENHANCED_CODE = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})\b")
"""The enhanced status code of a reply (RFC 3463). The text after it may contain the recipient's address."""
AUTHENTICATION_CODES = frozenset({530, 534, 535, 538})
"""Permanent replies that are about our credentials, not the message (RFC 4954, section 6). The operator can fix that,
so the message is retried."""


class SMTPTransport:
    """A mail server at `smtp://user:password@host:port` or `smtps://…`.

    With `smtp`, TLS starts if the server offers it (STARTTLS). Credentials are sent over TLS only. With
    `?starttls=required` nothing is sent without TLS; `?starttls=off` is for a relay on the same machine.
    Certificates are always verified.
    """

    def __init__(
        self, url: str, host: str, reply_timeout: float = REPLY_TIMEOUT, total_timeout: float = TOTAL_TIMEOUT
    ) -> None:
        """Send messages through one server.

        Args:
            url: the server's URL.
            host: our name in the greeting (EHLO).
            reply_timeout: seconds to wait for each reply.
            total_timeout: seconds for the whole conversation.
        """
        parts = urlsplit(url)
        self._hostname = parts.hostname
        self._uses_tls = parts.scheme == "smtps"
        self._username = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password or "") if parts.username else None
        (starttls_option,) = parse_qs(parts.query).get("starttls", ["offered"])
        requires_tls = starttls_option == "required" or self._username is not None
        starttls = {"off": False}.get(starttls_option, True if requires_tls else None)
        self._starttls = False if self._uses_tls else starttls
        self._port = parts.port or (465 if self._uses_tls else 587 if self._username else 25)
        self._host = host
        self._reply_timeout = reply_timeout
        self._total_timeout = total_timeout

    async def send(self, envelope: Envelope) -> None:
        """Send a message, and return once the server has accepted it.

        Raises:
            TryLater: the server is unreachable, times out, fails temporarily, or refuses our credentials.
            GiveUp: the server permanently refuses the recipient or the message.
        """
        client = SMTP(
            hostname=self._hostname,
            port=self._port,
            username=self._username,
            password=self._password,
            local_hostname=self._host,
            timeout=self._reply_timeout,
            use_tls=self._uses_tls,
            start_tls=self._starttls,
        )
        try:
            with _translated_errors():
                async with asyncio.timeout(self._total_timeout):
                    await client.connect()
                    options = ["SMTPUTF8", "BODY=8BITMIME"] if envelope.is_international else []
                    await client.sendmail(envelope.sender, [envelope.recipient], envelope.content, mail_options=options)
            with contextlib.suppress(SMTPException, OSError):  # TimeoutError is an OSError.
                async with asyncio.timeout(QUIT_TIMEOUT):
                    await client.quit()
        finally:
            client.close()


@contextlib.contextmanager
def _translated_errors() -> Generator[None]:
    """Translate errors of SMTP to `TryLater` or `GiveUp`, with messages that contain no personal data."""
    try:
        yield
    except SMTPRecipientsRefused as error:
        raise _refusal("the recipient", error.recipients[0]) from None
    except SMTPDataError as error:
        raise _refusal("the message", error) from None
    except SMTPAuthenticationError as error:
        raise TryLater(f"the mail server refused our credentials: {_code(error)}") from None
    except SMTPResponseException as error:
        raise TryLater(f"the mail server refused our request: {_code(error)}") from None
    except (SMTPException, OSError) as error:
        raise TryLater(f"the mail server cannot be used: {_description(error)}") from None


def _refusal(refused: str, error: SMTPResponseException) -> TryLater | GiveUp:
    reason = f"the mail server refused {refused}: {_code(error)}"
    if error.code >= 500 and error.code not in AUTHENTICATION_CODES:
        return GiveUp(reason)
    return TryLater(reason)


def _code(error: SMTPResponseException) -> str:
    enhanced = ENHANCED_CODE.match(error.message)
    return f"{error.code} {enhanced[1]}" if enhanced else str(error.code)


def _description(error: Exception) -> str:
    """Describe a failure below SMTP. The text comes from the library or the operating system, not from the server."""
    if isinstance(error, TimeoutError):
        return "it timed out"
    return " ".join(str(error).split()) or type(error).__name__
