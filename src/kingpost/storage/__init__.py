"""The database machine: drivers, coalescing, paging, migrations. It knows the rules of no feature.

The ports of all features (`store.py` in each room) make the same promises. Each method is atomic, and its result is
durable when it returns. Conditions (a version, an unused token, the last administrator) are decided in the write
itself, so that exactly as many concurrent callers succeed as the docstring says. A database that cannot be reached, or
does not answer in time, raises `Unavailable`; no other error of a driver escapes. After a write has returned, every
read by this process sees it.
"""

from kingpost.problems import OperatorError


class CannotOpen(OperatorError):
    """The database cannot be used."""
