"""The file outbox: messages as files that any mail program opens, for development."""

import asyncio
import os
import secrets
from pathlib import Path

from kingpost.jobs.sealing import TryLater
from kingpost.mail.envelope import Envelope


class Outbox:
    """A directory with one `.eml` a message. It is made when the first message comes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def send(self, envelope: Envelope) -> None:
        """Write a message to a file with its name, whole or not at all; writing it again changes nothing.

        Raises:
            TryLater: the directory cannot be written to.
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
