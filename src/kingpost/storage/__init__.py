"""The database machine: drivers, coalescing, paging, migrations. It knows the rules of no feature.

What the ports of the features (`store.py` in each room) have in common: each method is one intent and atomic, it
happens whole or not at all, and what it has returned is durable. Conditions (a version, a token that was not used,
the last administrator) are decided in the write itself, so that of any number of concurrent callers exactly as many
win as the docstring says. A database that cannot be reached, or does not answer in time, raises `Unavailable`; no
other error of a driver escapes. After a write has returned, every read by this process sees it.
"""


class CannotOpen(Exception):
    """A database that cannot be used. Its text is one sentence for the operator."""
