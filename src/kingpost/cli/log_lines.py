"""The lines that a server writes to its log."""

import logging
from typing import Any, override

from kingpost.cli.common import printable
from kingpost.clock import timestamp


class LogLines(logging.Formatter):
    """Formats a record as one line that begins with its time in UTC. A traceback follows it on indented lines.

    Messages and exceptions may contain values of a request. Characters that control a terminal or begin a new line are
    escaped, so that no value can forge a record.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    @override
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return timestamp(int(record.created * 1000))

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))

    @override
    def formatException(self, ei: Any) -> str:
        return "\n".join(f"    {printable(line)}" for line in super().formatException(ei).split("\n"))
