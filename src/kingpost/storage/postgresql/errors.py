"""Translates errors of asyncpg."""

import logging

import asyncpg

from kingpost.problems import Unavailable
from kingpost.storage.database import ForeignKeyViolation, UniqueViolation

log = logging.getLogger("kingpost.storage")

OUTAGES = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,  # shut down, cancelled by statement_timeout
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.TransactionRollbackError,  # deadlock, serialization
    asyncpg.ObjectNotInPrerequisiteStateError,  # lock not available
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidTransactionStateError,  # read-only: a standby
    asyncpg.InvalidCachedStatementError,  # the schema has changed; the next try sees the new one
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
)


def is_outage(error: BaseException) -> bool:
    """Return whether an error is an outage. The connection should not be used again."""
    # asyncpg raises a ValueError for values that it cannot send, which is a bug of ours.
    return isinstance(error, OUTAGES) and not isinstance(error, ValueError)


def translated(error: Exception) -> Exception:
    """Translate an error: an outage (which is logged) to `Unavailable`, a violation to our own exception.

    Any other error is returned unchanged.
    """
    if isinstance(error, asyncpg.UniqueViolationError):
        return UniqueViolation()
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        return ForeignKeyViolation()
    if is_outage(error):
        log.error("PostgreSQL: %s: %s", type(error).__name__, error)
        return Unavailable("The database is not available right now")
    return error
