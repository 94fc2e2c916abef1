"""Opening connections to PostgreSQL, directly or through a pooler such as PgBouncer."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg

from kingpost.clock import timestamp
from kingpost.storage import CannotOpen

type PostgreSQL = asyncpg.Connection[asyncpg.Record]

CONNECT_TIMEOUT = 5.0
APPLICATION_NAME = {"application_name": "kingpost"}
# The server times out a little before we do. JIT costs more than it saves with statements as short as ours.
SETTINGS = {"statement_timeout": "9s", "idle_in_transaction_session_timeout": "15s", "jit": "off"}

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's
EPOCH_MICROSECONDS = int(EPOCH.timestamp()) * 1_000_000
MICROSECOND = timedelta(microseconds=1)


class Connector(NamedTuple):
    """Opens connections to one server.

    Attributes:
        url: in libpq's form.
        pooled: whether the URL leads to a pooler, which may send each transaction to another server process. Prepared
            statements then end with their transaction, and each transaction sets its own settings.
    """

    url: str
    pooled: bool

    @property
    def begin(self) -> str:
        """The command that begins a transaction, in one round trip."""
        begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
        if not self.pooled:
            return begin
        return "; ".join([begin, *[f"SET LOCAL {name} = '{value}'" for name, value in SETTINGS.items()]])

    async def connect(self) -> PostgreSQL:
        """Open a connection that returns ids and times as text."""
        connection = await asyncpg.connect(
            self.url,
            timeout=CONNECT_TIMEOUT,
            statement_cache_size=0 if self.pooled else 256,
            max_cached_statement_lifetime=0,
            # A pooler refuses a connection with start-up parameters that it does not know.
            server_settings=APPLICATION_NAME if self.pooled else APPLICATION_NAME | SETTINGS,
        )
        try:
            await _set_codecs(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection


async def find_connector(url: str) -> Connector:
    """Connect once, and detect whether the URL leads to a pooler.

    Raises:
        CannotOpen: the server cannot be reached, or refuses the connection.
    """
    try:
        async with asyncio.timeout(2 * CONNECT_TIMEOUT):
            return Connector(url, await _is_pooled(url))
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise CannotOpen("PostgreSQL refuses the user or the password in KINGPOST_DATABASE_URL.") from error
    except asyncpg.InvalidCatalogNameError as error:
        raise CannotOpen("The database in KINGPOST_DATABASE_URL does not exist: create it first.") from error
    except ssl.SSLError as error:  # One about a certificate is a ValueError, too.
        raise CannotOpen(f"PostgreSQL{_place(url)} cannot be reached over TLS: {_tls_reason(error)}.") from error
    except ValueError as error:
        raise CannotOpen("KINGPOST_DATABASE_URL is not a valid PostgreSQL URL.") from error
    except TimeoutError as error:
        raise CannotOpen(f"PostgreSQL{_place(url)} does not answer.") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise CannotOpen(f"PostgreSQL{_place(url)} cannot be reached: {_reason(error)}.") from error


async def _is_pooled(url: str) -> bool:
    connection = await asyncpg.connect(
        url, timeout=CONNECT_TIMEOUT, statement_cache_size=0, server_settings=APPLICATION_NAME
    )
    try:
        # A pooler announces a number of its own instead of the process id of the server.
        async with connection.transaction():
            process = await connection.fetchval("SELECT pg_backend_pid()")
        return bool(process != connection.get_server_pid())
    finally:
        connection.terminate()


async def _set_codecs(connection: PostgreSQL) -> None:
    async def codec(name: str, encoder: object, decoder: object, form: str) -> None:
        await connection.set_type_codec(name, schema="pg_catalog", encoder=encoder, decoder=decoder, format=form)

    await codec("uuid", str, str, "text")
    await codec("timestamptz", _encode_time, _decode_time, "tuple")


@lru_cache(maxsize=256)  # Most rows have the same time in several columns, and so do rows that are written together.
def _encode_time(text: str) -> tuple[int]:
    return ((datetime.fromisoformat(text) - EPOCH) // MICROSECOND,)


def _decode_time(value: tuple[int]) -> str:
    return timestamp((value[0] + EPOCH_MICROSECONDS) // 1000)


def _place(url: str) -> str:
    try:
        parts = urlsplit(url)
        return f" at {parts.hostname}:{parts.port or 5432}" if parts.hostname else ""
    except ValueError:
        return ""


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "the connection is refused"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).partition("\n")[0].rstrip(".")


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    return (error.reason or "the handshake failed").replace("_", " ").lower()
