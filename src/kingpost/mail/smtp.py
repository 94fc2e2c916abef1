"""Mail over SMTP (RFC 5321): one dialogue a message, encrypted where the server can, with an end to every wait."""

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

EACH_STEP = 30.0
"""Seconds for which one answer of the server is awaited."""
ALL_STEPS = 50.0
"""Seconds that the whole dialogue may take: less than a job may."""
FAREWELL = 2.0
"""Seconds for the server's answer to QUIT. The message is delivered already, so nothing depends on it."""
ENHANCED_CODE = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})\b")
"""The status at the start of an answer (RFC 3463). What follows may name the recipient."""
SENDERS_FAULT = frozenset({530, 534, 535, 538})
"""Refusals of whoever has not (rightly) authenticated (RFC 4954, section 6): the operator's to mend."""


class SMTPTransport:
    """A mail server at `smtp://user:password@host:port` or `smtps://…`.

    With `smtp`, TLS starts if the server offers it (STARTTLS). Credentials are sent over TLS only, and
    `?starttls=required` sends nothing at all without it; `?starttls=off` is for a relay on the same machine.
    Certificates are always checked.
    """

    def __init__(self, url: str, host: str, each_step: float = EACH_STEP, all_steps: float = ALL_STEPS) -> None:
        """`host` is the name that we greet with, the times are in seconds."""
        parts = urlsplit(url)
        self._hostname = parts.hostname
        self._uses_tls = parts.scheme == "smtps"
        self._username = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password or "") if parts.username else None
        (wanted,) = parse_qs(parts.query).get("starttls", ["offered"])
        demands_tls = wanted == "required" or self._username is not None
        starttls = {"off": False}.get(wanted, True if demands_tls else None)
        self._starttls = False if self._uses_tls else starttls
        self._port = parts.port or (465 if self._uses_tls else 587 if self._username else 25)
        self._host = host
        self._each_step = each_step
        self._all_steps = all_steps

    async def send(self, envelope: Envelope) -> None:
        """Have the server accept a message.

        Raises:
            TryLater: it cannot be reached, does not answer, says so itself, or refuses us.
            GiveUp: it refuses the recipient or the message for good.
        """
        client = SMTP(
            hostname=self._hostname,
            port=self._port,
            username=self._username,
            password=self._password,
            local_hostname=self._host,
            timeout=self._each_step,
            use_tls=self._uses_tls,
            start_tls=self._starttls,
        )
        try:
            with _reasons():
                async with asyncio.timeout(self._all_steps):
                    await client.connect()
                    options = ["SMTPUTF8", "BODY=8BITMIME"] if envelope.is_international else []
                    await client.sendmail(envelope.sender, [envelope.recipient], envelope.content, mail_options=options)
            with contextlib.suppress(SMTPException, OSError):  # TimeoutError is one too.
                async with asyncio.timeout(FAREWELL):
                    await client.quit()
        finally:
            client.close()


@contextlib.contextmanager
def _reasons() -> Generator[None]:
    """Tell a failure that passes from one that does not, in words that name nobody."""
    try:
        yield
    except SMTPRecipientsRefused as error:
        raise _refusal("the recipient", error.recipients[0]) from None
    except SMTPDataError as error:
        raise _refusal("the message", error) from None
    except SMTPAuthenticationError as error:
        raise TryLater(f"the mail server refused our credentials: {_code(error)}") from None
    except SMTPResponseException as error:
        raise TryLater(f"the mail server refused us: {_code(error)}") from None
    except (SMTPException, OSError) as error:
        raise TryLater(f"the mail server cannot be used: {_words(error)}") from None


def _refusal(what: str, error: SMTPResponseException) -> TryLater | GiveUp:
    reason = f"the mail server refused {what}: {_code(error)}"
    if error.code >= 500 and error.code not in SENDERS_FAULT:
        return GiveUp(reason)
    return TryLater(reason)


def _code(error: SMTPResponseException) -> str:
    enhanced = ENHANCED_CODE.match(error.message)
    return f"{error.code} {enhanced[1]}" if enhanced else str(error.code)


def _words(error: Exception) -> str:
    """What went wrong below SMTP. Only the library itself and the system speak here, never the server."""
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return " ".join(str(error).split()) or type(error).__name__
