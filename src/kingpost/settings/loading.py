"""The configuration: read once, checked whole, frozen.

`KINGPOST_*` variables win over `kingpost.toml` in the working directory, which wins over the defaults;
what `serve` is told by flags wins over all. Every fault is reported at once.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from kingpost.settings import parsers
from kingpost.settings.origins import ascii_host, is_address, is_loopback, origin_of

PREFIX = "KINGPOST_"
FILE = "kingpost.toml"
SECRET_FILE = "kingpost.secret"
MIN_SECRET = 32
PASSWORD_PARAMETER = re.compile(r"([?&](?:ssl)?password=)[^&]*", re.IGNORECASE)

type Environment = Literal["development", "production"]
type SignUpMode = Literal["open", "verified", "closed"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force. `docs/configuration.md` explains each one."""

    host: str
    port: int
    workers: int
    environment: Environment
    database_url: str
    valkey_url: str | None
    rate_limit_login: parsers.Rate | None
    secret: str | None
    public_url: str
    public_url_is_derived: bool
    trusted_proxies: tuple[str, ...]
    tls_cert: str | None
    tls_key: str | None
    cors_origins: frozenset[str]
    signup: SignUpMode
    body_limit: int
    json_depth: int
    json_keys: int
    header_limit: int
    drain_seconds: float
    key_rotation_days: int
    mail_url: str
    mail_from: str
    mail_templates: str | None

    @property
    def service_name(self) -> str:
        """What people see as the service's name: the public host, if there is one that means something."""
        host = None if self.public_url_is_derived else urlsplit(self.public_url).hostname
        return host or "Kingpost"


class InvalidSettings(Exception):
    """The configuration has faults; `faults` holds a sentence for each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(" ".join(faults))
        self.faults = faults


DEFAULTS: Mapping[str, Any] = {
    "database_url": "sqlite:///kingpost.db",
    "valkey_url": None,
    "rate_limit_login": parsers.Rate(10, "minute"),
    "environment": None,
    "secret": None,
    "public_url": None,
    "trusted_proxies": (),
    "tls_cert": None,
    "tls_key": None,
    "cors_origins": frozenset(),
    "signup": "open",
    "body_limit": 1024 * 1024,
    "json_depth": 32,
    "json_keys": 10_000,
    "header_limit": 16 * 1024,
    "drain_seconds": 5.0,
    "key_rotation_days": 90,
    "mail_url": "file:./outbox",
    "mail_from": None,
    "mail_templates": None,
}

PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "database_url": parsers.database_url,
    "valkey_url": parsers.valkey_url,
    "rate_limit_login": parsers.rate,
    "environment": parsers.choice("development", "production"),
    "secret": parsers.text,
    "public_url": parsers.origin,
    "trusted_proxies": parsers.networks,
    "tls_cert": parsers.text,
    "tls_key": parsers.text,
    "cors_origins": parsers.origins,
    "signup": parsers.choice("open", "verified", "closed"),
    "body_limit": parsers.number(int, 1024),
    "json_depth": parsers.number(int, 1),
    "json_keys": parsers.number(int, 1),
    "header_limit": parsers.number(int, 1024),
    "drain_seconds": parsers.number(float, 0),
    "key_rotation_days": parsers.number(int, 0),
    "mail_url": parsers.mail_url,
    "mail_from": parsers.mail_from,
    "mail_templates": parsers.text,
}


def load(
    environment: Mapping[str, str],
    directory: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
) -> Settings:
    """Read and check the configuration.

    Args:
        environment: the process's environment.
        directory: where `kingpost.toml` may stand.

    Raises:
        InvalidSettings: with all the faults found.
    """
    faults: list[str] = []
    values = dict(DEFAULTS)
    for source, name, value in _given(environment, directory / FILE, faults):
        try:
            values[name] = PARSERS[name](value)
        except ValueError as error:
            faults.append(f"{source} {error}.")
    if values["environment"] is None:
        values["environment"] = "development" if is_loopback(host) else "production"
    faults += _contradictions(values)
    if faults:
        raise InvalidSettings(faults)
    derived = values["public_url"] is None
    if derived:
        values["public_url"] = origin_of(host, port, tls=bool(values["tls_cert"]))
    if values["mail_from"] is None:
        public_host = ascii_host(values["public_url"])
        values["mail_from"] = f"no-reply@{'localhost' if is_address(public_host) else public_host}"
    return Settings(host=host, port=port, workers=workers, public_url_is_derived=derived, **values)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """The `KINGPOST_*` variables that mean nothing to this release.

    They are no fault: an orchestrator may set some of its own (Kubernetes names one after each service).
    """
    return sorted(n for n in environment if n.startswith(PREFIX) and n.removeprefix(PREFIX).lower() not in PARSERS)


def masked(settings: Settings) -> dict[str, Any]:
    """The settings as they may be shown: without the secret and without passwords in URLs."""
    shown = msgspec.structs.asdict(settings)
    shown["secret"] = "***" if settings.secret else None
    if password := urlsplit(settings.database_url).password:
        shown["database_url"] = settings.database_url.replace(f":{password}@", ":***@")
    shown["database_url"] = PASSWORD_PARAMETER.sub(r"\1***", shown["database_url"])
    if mail_user := urlsplit(settings.mail_url).netloc.rpartition("@")[0]:
        # Some providers have people log in with a token as the name, too.
        shown["mail_url"] = settings.mail_url.replace(f"{mail_user}@", "***@")
    if settings.valkey_url and (user := urlsplit(settings.valkey_url).netloc.rpartition("@")[0]):
        shown["valkey_url"] = settings.valkey_url.replace(f"{user}@", "***@")
    shown["rate_limit_login"] = str(settings.rate_limit_login or "off")
    shown["cors_origins"] = sorted(settings.cors_origins)
    return shown


def _given(environment: Mapping[str, str], file: Path, faults: list[str]) -> list[tuple[str, str, Any]]:
    """What is configured, as (where, name, value), weakest first."""
    given: list[tuple[str, str, Any]] = []
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        entries = {}
    except (OSError, ValueError) as error:
        entries = {}
        faults.append(f"{FILE} cannot be read: {error}.")
    for name, value in entries.items():
        if name in PARSERS:
            given.append((f"{FILE}: {name}", name, value))
        else:
            faults.append(f"{FILE}: {name} is not a setting.")
    for name in PARSERS:
        variable = PREFIX + name.upper()
        if variable in environment:
            given.append((variable, name, environment[variable]))
    return given


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    faults = []
    if bool(values["tls_cert"]) != bool(values["tls_key"]):
        faults.append("KINGPOST_TLS_CERT and KINGPOST_TLS_KEY must be set together.")
    elif values["tls_cert"]:
        faults += _tls_faults(values["tls_cert"], values["tls_key"])
    if values["environment"] == "production":
        secret = values["secret"]
        if secret is None or len(secret) < MIN_SECRET:
            faults.append(f"KINGPOST_SECRET must be set in production, to {MIN_SECRET} characters or more.")
        if values["public_url"] is None:
            faults.append("KINGPOST_PUBLIC_URL must be set in production.")
        elif not values["public_url"].startswith("https://"):
            faults.append("KINGPOST_PUBLIC_URL must start with https:// in production.")
        if values["mail_url"].startswith("file:"):
            faults.append("KINGPOST_MAIL_URL must be smtp:// or smtps:// in production: files reach nobody.")
    return faults


def _tls_faults(cert: str, key: str) -> list[str]:
    import ssl  # noqa: PLC0415 - few servers need it

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except OSError as error:  # ssl.SSLError is one too.
        reason = getattr(error, "reason", None) or error.strerror or "unknown"
        return [f"KINGPOST_TLS_CERT and KINGPOST_TLS_KEY cannot be used: {reason.replace('_', ' ').lower()}."]
    return []
