"""Several worker processes on one listening socket."""

import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from kingpost.settings import Settings

RESTART_PAUSE = 1.0
"""Seconds before a worker that died is replaced: one that dies at once must not keep the machine busy."""

logger = logging.getLogger("kingpost.supervisor")

type Work = Callable[[Settings, socket.socket], None]


class Supervisor:
    """Keeps as many workers running as configured, and passes signals on to them."""

    def __init__(self, settings: Settings, listener: socket.socket, work: Work) -> None:
        """`work` is what a worker does; it must be importable, since workers start from nothing."""
        self._settings = settings
        self._listener = listener
        self._work = work
        self._context = multiprocessing.get_context("spawn")
        self._is_stopping = False
        self._workers: list[BaseProcess] = []

    def run(self) -> None:
        """Run until told to stop by a signal and all workers have ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: self._stop(number))
        self._workers = [self._start() for _ in range(self._settings.workers)]
        while not self._is_stopping:
            wait([worker.sentinel for worker in self._workers], timeout=0.5)
            self._replace_dead()
        for worker in self._workers:
            worker.join()

    def _start(self) -> BaseProcess:
        worker = self._context.Process(target=self._work, args=(self._settings, self._listener))
        worker.start()
        return worker

    def _replace_dead(self) -> None:
        for place, worker in enumerate(self._workers):
            if worker.is_alive() or self._is_stopping:
                continue
            logger.error("worker %s died with exit code %s and is replaced", worker.pid, worker.exitcode)
            time.sleep(RESTART_PAUSE)
            if not self._is_stopping:
                self._workers[place] = self._start()

    def _stop(self, number: int) -> None:
        self._is_stopping = True
        for worker in self._workers:
            if worker.pid is not None and worker.is_alive():
                os.kill(worker.pid, number)
