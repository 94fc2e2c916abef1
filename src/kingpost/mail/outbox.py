"""The file outbox for development: writes each message to a file that mail programs can open."""

import asyncio
import os
import secrets
from pathlib import Path

from kingpost.jobs.sealing import TryLater
from kingpost.mail.envelope import Envelope


class Outbox:
    """A directory with one `.eml` file per message. It is created with the first message."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def send(self, envelope: Envelope) -> None:
        """Write a message to the file `<name>.eml`. This is atomic and idempotent.

        Raises:
            TryLater: the directory or the file cannot be written.
        """
        try:
            await asyncio.to_thread(self._write, envelope)
        except OSError as error:
            raise TryLater(f"the outbox cannot be written: {error.strerror}") from None

    def _write(self, envelope: Envelope) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._directory / f".{envelope.name}.{secrets.token_hex(8)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(envelope.content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._directory / f"{envelope.name}.eml")
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
