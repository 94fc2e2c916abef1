"""Writes numbers so that PostgreSQL's jsonb returns them unchanged.

jsonb stores a number as a decimal and prints it without exponent: 1e300 comes back as an integer of 301 digits, which
no client can send again, because integers are limited. With one decimal place it comes back as the same float.
"""

import re
from decimal import Decimal

EXACT = 2**53

_HAS_EXPONENT = re.compile(r"[0-9][eE]")
_STRING_OR_EXPONENT = re.compile(r'"(?:[^"\\]++|\\.)*+"|-?[0-9]++(?:\.[0-9]++)?[eE][+-]?[0-9]++', re.DOTALL)


def jsonb_text(text: str) -> str:
    """Return a JSON text whose numbers survive jsonb: large floats become fixed-point numbers with one decimal place.

    The text must be valid JSON. Strings, integers and all other numbers do not change.
    """
    if _HAS_EXPONENT.search(text) is None:
        return text
    return _STRING_OR_EXPONENT.sub(_fixed, text)


def _fixed(match: re.Match[str]) -> str:
    token = match[0]
    if token[0] == '"':
        return token
    value = float(token)
    if value == 0.0:
        return "0.0"  # jsonb refuses 0e99999 and 1e-99999.
    if abs(value) < EXACT:
        return token
    # The shortest decimal that equals this float.
    digits = format(Decimal(repr(value)), "f")
    return digits if "." in digits else digits + ".0"
