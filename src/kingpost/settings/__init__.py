"""Read and validate the configuration. The result is immutable.

`table.py` has one line for each setting. These lines name functions of `parsers.py` and `masks.py`. `loading.py` reads
the configuration.
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
