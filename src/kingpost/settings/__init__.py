"""The configuration: read once, checked whole, frozen.

`table.py` holds one line for each setting, `parsers.py` and `masks.py` what these lines name. `loading.py` reads.
"""

from kingpost.settings.loading import PREFIX, SECRET_FILE, InvalidSettings, load, unknown_variables
from kingpost.settings.origins import ascii_host, is_address, is_loopback, is_loopback_origin
from kingpost.settings.parsers import Rate
from kingpost.settings.table import DERIVED, SETTINGS, Environment, Settings, SignUpMode, masked

__all__ = [
    "DERIVED",
    "PREFIX",
    "SECRET_FILE",
    "SETTINGS",
    "Environment",
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
