"""A SQLite file and the connections to it."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from queue import SimpleQueue

import apsw

from kingpost.problems import Unavailable
from kingpost.storage import CannotOpen
from kingpost.storage.database import QUERY_TIMEOUT, ForeignKeyViolation, Query, Row, UniqueViolation

log = logging.getLogger("kingpost.storage")

type Identity = tuple[int, int]

UNIQUE = {apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY, apsw.SQLITE_CONSTRAINT_ROWID}
# Bugs in our own statements: not an outage, so a retry does not help.
MISTAKES = (apsw.SQLError, apsw.MisuseError, apsw.MismatchError, apsw.RangeError, apsw.TooBigError, apsw.BindingsError)
CACHE_KIB = 8192
SCANNERS = 4
"""Connections for long reads, and therefore how many of them run at once."""
MAX_READ_TIME = 0.002
"""Seconds after which a read on the event loop is interrupted."""
STEPS_BETWEEN_CHECKS = 10_000
"""Instructions of SQLite's virtual machine between two looks at the clock: less than a millisecond."""
REFRESH_STATISTICS = "PRAGMA optimize = 0x10002"
"""Analyze the tables whose size has changed much since the last time, without reading all of their rows."""
MAX_JOURNAL_SIZE = 64 * 1024 * 1024
UNAVAILABLE = "The database is not available right now"


def translated(error: Exception) -> Exception:
    """Translate an error: an outage (which is logged) to `Unavailable`, a violation to our own exception.

    Any other error is returned unchanged.
    """
    if isinstance(error, apsw.ConstraintError):
        if error.extendedresult in UNIQUE:  # type: ignore[attr-defined]
            return UniqueViolation()
        if error.extendedresult == apsw.SQLITE_CONSTRAINT_FOREIGNKEY:  # type: ignore[attr-defined]
            return ForeignKeyViolation()
        return error
    if isinstance(error, MISTAKES) or not isinstance(error, apsw.Error):
        return error
    log.error("SQLite: %s: %s", type(error).__name__, error)
    return Unavailable(UNAVAILABLE)


class Connections:
    """The connections to one file: a reader for the event loop, some for long reads, and one that writes."""

    def __init__(self, path: str) -> None:
        """Open them. The file must exist; an empty one becomes a database."""
        self.identity = identity(path)
        self.writer = _connect(path)
        _use_wal(self.writer)
        self.writer.execute(
            f"PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = {MAX_JOURNAL_SIZE}"
        ).fetchall()
        self._tables()  # A damaged file raises here, rather than in the first request.
        self._reader = _connect_to_read(path)
        # Waiting for a lock would block the event loop.
        self._reader.set_busy_timeout(0)
        self._reader.set_progress_handler(self._is_slow, STEPS_BETWEEN_CHECKS)
        self._read_started = 0.0
        self._scanners: SimpleQueue[apsw.Connection] = SimpleQueue()
        for _ in range(SCANNERS):
            self._scanners.put(_connect_to_read(path))
        self.journal = identity(path + "-wal")

    def read(self, query: Query) -> Sequence[Row]:
        """Run a short read. Call it on the event loop only.

        Raises:
            apsw.InterruptError: it took longer than `MAX_READ_TIME`.
            apsw.BusyError: the file is locked.
        """
        self._read_started = time.monotonic()
        return self._reader.execute(*query).fetchall()

    @contextlib.contextmanager
    def scanner(self) -> Iterator[apsw.Connection]:
        """Lend a connection for a long read, and wait until one is free. Safe to call from any thread."""
        connection = self._scanners.get()
        try:
            yield connection
        finally:
            self._scanners.put(connection)

    def close(self) -> None:
        """Close all connections. No scan may be running."""
        while not self._scanners.empty():
            self._scanners.get().close()
        self._reader.close()
        # The last connection moves the content of the journal into the file, which takes write access.
        self.writer.close()

    def _is_slow(self) -> bool:
        return time.monotonic() > self._read_started + MAX_READ_TIME

    def _tables(self) -> Sequence[object]:
        return self.writer.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()

    def resembles(self, other: "Connections") -> bool:
        """Return whether both files have the same tables now."""
        return self._tables() == other._tables()


class SQLiteFile:
    """A database file that may be moved away, deleted or replaced while it is open.

    SQLite keeps reading and writing a file that has lost its name, and everything written to it is lost. So call
    `connections` again before each transaction.
    """

    def __init__(self, path: str) -> None:
        """Open or create the file.

        Raises:
            CannotOpen: the file cannot be used.
        """
        self.path = path
        self._lock = threading.Lock()
        self.is_gone = False
        """Whether `connections` found no usable file the last time. Checking before each read would cost too much."""
        self.current = _opened(path)

    def connections(self) -> Connections:
        """Return the connections to the file that is at the path now. Safe to call from any thread.

        Raises:
            Unavailable: there is no file, or another file that is not a Kingpost database.
        """
        with self._lock:
            if identity(self.path) != self.current.identity:
                self.is_gone = True
                self.current = self._reopened()
            self.is_gone = False
            return self.current

    def _reopened(self) -> Connections:
        gone = Unavailable(UNAVAILABLE)
        if identity(self.path) is None:
            log.error("SQLite: the file %s is gone", self.path)
            raise gone
        if self.current.journal is not None and identity(self.path + "-wal") == self.current.journal:
            # SQLite would replay the journal of the old file into the new one, which would corrupt it.
            log.error("SQLite: %s was replaced beside the journal of the old file; stop the server first", self.path)
            raise gone
        try:
            found = Connections(self.path)
        except apsw.Error as error:
            log.error("SQLite: %s was replaced, and cannot be opened: %s", self.path, error)
            raise gone from error
        if not found.resembles(self.current):
            found.close()
            log.error("SQLite: %s was replaced by a database with other tables", self.path)
            raise gone
        log.warning("SQLite: %s was replaced by another database, which is in use from now on", self.path)
        return found


def identity(path: str) -> Identity | None:
    """Return what identifies a file regardless of its name; None if there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _connect(path: str) -> apsw.Connection:
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=256)
    connection.set_busy_timeout(int(QUERY_TIMEOUT * 1000))
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection


def _connect_to_read(path: str) -> apsw.Connection:
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _use_wal(connection: apsw.Connection) -> None:
    # If several processes switch a new file to WAL at once, SQLite refuses some of them without waiting.
    deadline = time.monotonic() + QUERY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _opened(path: str) -> Connections:
    if path in ("", ":memory:"):
        raise CannotOpen("KINGPOST_DATABASE_URL names no file: write sqlite:///./kingpost.db, for example.")
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise CannotOpen(f"The database file {path} cannot be created: its folder does not exist.")
    try:
        # Only its owner may read it: it contains password hashes. SQLite gives the journal the same permissions.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        return Connections(path)
    except OSError as error:
        raise CannotOpen(f"The database file {path} cannot be opened: {error.strerror}.") from error
    except apsw.NotADBError as error:
        raise CannotOpen(f"The file {path} is not a SQLite database.") from error
    except apsw.CorruptError as error:
        raise CannotOpen(f"The database file {path} is damaged: restore it from a backup.") from error
    except apsw.BusyError as error:
        raise CannotOpen(f"The database file {path} is locked by another program.") from error
    except apsw.Error as error:
        raise CannotOpen(f"The database file {path} cannot be opened: {error}.") from error
