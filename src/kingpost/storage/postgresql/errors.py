"""What an error of asyncpg means to the SQL package."""

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
    """Whether the database could not do its work now, and the connection had better not be used again."""
    # asyncpg raises values that it cannot send as a ValueError too: that is a mistake of ours.
    return isinstance(error, OUTAGES) and not isinstance(error, ValueError)


def translated(error: Exception) -> Exception:
    """`Unavailable` for an outage (logged with its cause), our own exception for a broken rule, else the error."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return UniqueViolation()
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        return ForeignKeyViolation()
    if is_outage(error):
        log.error("PostgreSQL: %s: %s", type(error).__name__, error)
        return Unavailable("The database is not available right now")
    return error
