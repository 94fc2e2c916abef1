"""The configuration: read once, checked whole, frozen."""

from kingpost.settings.loading import (
    DEFAULTS,
    PARSERS,
    PREFIX,
    SECRET_FILE,
    InvalidSettings,
    Settings,
    SignUpMode,
    load,
    masked,
    unknown_variables,
)
from kingpost.settings.origins import ascii_host, is_address, is_loopback, is_loopback_origin
from kingpost.settings.parsers import Rate

__all__ = [
    "DEFAULTS",
    "PARSERS",
    "PREFIX",
    "SECRET_FILE",
    "InvalidSettings",
    "Rate",
    "Settings",
    "SignUpMode",
    "ascii_host",
    "is_address",
    "is_loopback",
    "is_loopback_origin",
    "load",
    "masked",
    "unknown_variables",
]
