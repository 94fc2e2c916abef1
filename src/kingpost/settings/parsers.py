"""The settings about mail, checked."""

import re
from urllib.parse import urlsplit

ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
DOMAIN = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
MAILBOX = re.compile(rf"(?:[^\x00-\x1f\x7f<>@,;:\"\\()\[\]]+ <)?{ATOM}(?:\.{ATOM})*@{DOMAIN}>?")


def mail_url(text: str) -> str:
    """`KINGPOST_MAIL_URL`: a mail server or a directory.

    Raises:
        ValueError: it is neither; the message goes on after the setting's name, and repeats no password.
    """
    if text.startswith("file:") and text.removeprefix("file:").strip("/"):
        return text
    explanation = "must be smtp://user:password@host:port, smtps://… or file:DIRECTORY"
    try:
        parts = urlsplit(text)
        is_server = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError(explanation) from None
    is_nobody = "@" in parts.netloc and not parts.username
    if not is_server or is_nobody or parts.path.strip("/") or parts.fragment:
        raise ValueError(explanation)
    options = {"", "starttls=required", "starttls=off"} if parts.scheme == "smtp" else {""}
    if parts.query not in options:
        raise ValueError("knows no options but ?starttls=required and ?starttls=off, and these for smtp:// only")
    if parts.username and parts.query == "starttls=off":
        raise ValueError("must not send a password without TLS: leave ?starttls=off out")
    return text


def mail_from(text: str) -> str:
    """`KINGPOST_MAIL_FROM`: an ASCII address, with or without a name before it.

    Raises:
        ValueError: it is not; the message goes on after the setting's name.
    """
    if not MAILBOX.fullmatch(text) or ("<" in text) != text.endswith(">"):
        raise ValueError("must be an address such as no-reply@example.com, or Example <no-reply@example.com>")
    return text
