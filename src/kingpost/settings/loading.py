"""Read the configuration from `KINGPOST_*` variables, `kingpost.toml`, and the flags of `serve`.

Flags override variables, variables override the file in the working directory, and the file overrides the defaults.
All errors are reported together.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kingpost.settings.origins import ascii_host, is_address, is_loopback, origin_of
from kingpost.settings.table import DERIVED, SETTINGS, Settings

PREFIX = "KINGPOST_"
FILE = "kingpost.toml"
SECRET_FILE = "kingpost.secret"
MIN_SECRET = 32


class InvalidSettings(Exception):
    """The configuration is invalid. `faults` has one sentence for each error."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(" ".join(faults))
        self.faults = faults


def load(
    environment: Mapping[str, str],
    directory: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
) -> Settings:
    """Read and validate the configuration.

    Args:
        environment: the environment variables of the process.
        directory: the directory of `kingpost.toml`. The file is optional.
        host, port, workers: the flags of `serve`.

    Raises:
        InvalidSettings: the configuration is invalid. The exception has all errors.
    """
    faults: list[str] = []
    values = {name: setting.default for name, setting in SETTINGS.items()}
    for source, name, value in _configured(environment, directory / FILE, faults):
        try:
            values[name] = SETTINGS[name].parse(value)
        except ValueError as error:
            faults.append(f"{source} {error}.")
    settings = _derive(values, host, port, workers)
    faults += _contradictions(settings)
    if faults:
        raise InvalidSettings(faults)
    return settings


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the `KINGPOST_*` variables that are not settings, sorted.

    They are not errors, because an orchestrator may set such variables. Kubernetes names some after each service.
    """
    return sorted(n for n in environment if n.startswith(PREFIX) and n.removeprefix(PREFIX).lower() not in SETTINGS)


def _configured(environment: Mapping[str, str], file: Path, faults: list[str]) -> list[tuple[str, str, Any]]:
    """Return the configured values as (source, name, value), lowest precedence first. Append errors of the file."""
    configured: list[tuple[str, str, Any]] = []
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        entries = {}
    except (OSError, ValueError) as error:
        entries = {}
        faults.append(f"{FILE} cannot be read: {error}.")
    for name, value in entries.items():
        if name in SETTINGS:
            configured.append((f"{FILE}: {name}", name, value))
        else:
            faults.append(f"{FILE}: {name} is an unknown setting.")
    for name in SETTINGS:
        variable = PREFIX + name.upper()
        if variable in environment:
            configured.append((variable, name, environment[variable]))
    return configured


def _derive(values: Mapping[str, Any], host: str, port: int, workers: int) -> Settings:
    """Compute the defaults that depend on other settings and on the address that `serve` listens on."""
    derived = dict(values)
    if values["environment"] is DERIVED:
        derived["environment"] = "development" if is_loopback(host) else "production"
    if values["public_url"] is DERIVED:
        derived["public_url"] = origin_of(host, port, tls=bool(values["tls_cert"]))
    if values["mail_from"] is DERIVED:
        public_host = ascii_host(derived["public_url"])
        derived["mail_from"] = f"no-reply@{'localhost' if is_address(public_host) else public_host}"
    return Settings(
        host=host, port=port, workers=workers, public_url_is_derived=values["public_url"] is DERIVED, **derived
    )


def _contradictions(settings: Settings) -> list[str]:
    """Return one sentence for each error that involves more than one setting."""
    faults = []
    if bool(settings.tls_cert) != bool(settings.tls_key):
        faults.append("KINGPOST_TLS_CERT and KINGPOST_TLS_KEY must be set together.")
    elif settings.tls_cert and settings.tls_key:
        faults += _tls_faults(settings.tls_cert, settings.tls_key)
    if settings.environment == "production":
        faults += _production_faults(settings)
    return faults


def _production_faults(settings: Settings) -> list[str]:
    faults = []
    if settings.secret is None or len(settings.secret) < MIN_SECRET:
        faults.append(f"KINGPOST_SECRET must be set in production and have {MIN_SECRET} characters or more.")
    if settings.public_url_is_derived:
        faults.append("KINGPOST_PUBLIC_URL must be set in production.")
    elif not settings.public_url.startswith("https://"):
        faults.append("KINGPOST_PUBLIC_URL must start with https:// in production.")
    if settings.mail_url.startswith("file:"):
        faults.append("KINGPOST_MAIL_URL must be smtp:// or smtps:// in production, because file: delivers no mail.")
    return faults


def _tls_faults(cert: str, key: str) -> list[str]:
    import ssl  # noqa: PLC0415 - only servers with TLS need it

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except OSError as error:  # SSLError is a subclass.
        reason = getattr(error, "reason", None) or error.strerror or "unknown"
        return [f"KINGPOST_TLS_CERT and KINGPOST_TLS_KEY cannot be used: {reason.replace('_', ' ').lower()}."]
    return []
