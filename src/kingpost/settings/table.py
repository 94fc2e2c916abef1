"""The table of settings. Each setting has one line with its type, its default, its parser and its mask."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from kingpost.settings import parsers
from kingpost.settings.masks import as_is, hidden, or_off, without_password, without_user
from kingpost.settings.parsers import Rate, choice, number

type Environment = Literal["development", "production"]
type SignUpMode = Literal["open", "verified", "closed"]

DERIVED: Any = object()
"""The default of a setting whose value depends on other settings. `loading.py` computes it. It fits every type."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The default, the parser and the mask of a setting.

    `parse` takes the text of a variable or a TOML value. It raises ValueError with a message that follows the name of
    the setting in a sentence. `show` returns a JSON-compatible value without secrets.
    """

    default: Any
    parse: Callable[[Any], Any]
    show: Callable[[Any], Any]


def setting[T, D](default: D, parse: Callable[[Any], T], *, show: Callable[[T | D], Any] = as_is) -> T | D:
    """Declare a field of `Settings` that can be configured.

    The return type makes mypy check the default and the parser against the type of the field. The dataclass field
    itself has no default, so every `Settings` must be created with all values.
    """
    return cast("T | D", field(metadata={Setting: Setting(default, parse, show)}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The effective configuration. `docs/configuration.md` describes each setting."""

    host: str
    port: int
    workers: int
    environment: Environment = setting(DERIVED, choice("development", "production"))
    database_url: str = setting("sqlite:///kingpost.db", parsers.database_url, show=without_password)
    valkey_url: str | None = setting(None, parsers.valkey_url, show=without_user)
    rate_limit_login: Rate | None = setting(Rate(10, "minute"), parsers.rate, show=or_off)
    secret: str | None = setting(None, parsers.text, show=hidden)
    public_url: str = setting(DERIVED, parsers.origin)
    public_url_is_derived: bool
    trusted_proxies: tuple[str, ...] = setting((), parsers.networks)
    tls_cert: str | None = setting(None, parsers.text)
    tls_key: str | None = setting(None, parsers.text)
    cors_origins: frozenset[str] = setting(frozenset(), parsers.origins, show=sorted)
    signup: SignUpMode = setting("open", choice("open", "verified", "closed"))
    body_limit: int = setting(1024 * 1024, number(int, 1024))
    json_depth: int = setting(32, number(int, 1, 200))
    json_keys: int = setting(10_000, number(int, 1))
    header_limit: int = setting(16 * 1024, number(int, 1024))
    drain_seconds: float = setting(5.0, number(float, 0))
    key_rotation_days: int = setting(90, number(int, 0))
    mail_url: str = setting("file:./outbox", parsers.mail_url, show=without_user)
    mail_from: str = setting(DERIVED, parsers.mail_from)
    mail_templates: str | None = setting(None, parsers.text)

    @property
    def service_name(self) -> str:
        """The name of the service for users: the host of the public URL if it is configured, otherwise Kingpost."""
        host = None if self.public_url_is_derived else urlsplit(self.public_url).hostname
        return host or "Kingpost"


SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {declared.name: declared.metadata[Setting] for declared in fields(Settings) if Setting in declared.metadata}
)
"""The settings that can be configured, by name."""


def masked(settings: Settings) -> dict[str, Any]:
    """Return all settings with the secret and the passwords in URLs masked."""
    values = {declared.name: getattr(settings, declared.name) for declared in fields(settings)}
    return {name: SETTINGS[name].show(value) if name in SETTINGS else value for name, value in values.items()}
