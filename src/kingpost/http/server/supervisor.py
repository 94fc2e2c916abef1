"""Several worker processes on one listening socket."""

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing import resource_tracker
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
        for place in range(self._settings.workers):
            self._start(place)
        while not self._is_stopping:
            wait([worker.sentinel for worker in self._workers], timeout=0.5)
            self._replace_dead()
        # While this one stays open, the kernel takes connections that no worker accepts any more.
        self._listener.close()
        for worker in self._workers:
            worker.join()

    def _start(self, place: int) -> None:
        worker = self._context.Process(target=_work, args=(self._work, self._settings, self._listener))
        self._workers[place : place + 1] = [worker]
        # Python says a traceback when Ctrl-C meets it while it starts, so the worker meets it when it is ready.
        # The tracker's own start would unblock the signal in between, so it comes first.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            worker.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if self._is_stopping:  # The signal came before there was a process to pass it on to.
            worker.terminate()

    def _replace_dead(self) -> None:
        for place, worker in enumerate(self._workers):
            if worker.is_alive() or self._is_stopping:
                continue
            logger.error("worker %s died with exit code %s and is replaced", worker.pid, worker.exitcode)
            time.sleep(RESTART_PAUSE)
            if not self._is_stopping:
                self._start(place)

    def _stop(self, number: int) -> None:
        self._is_stopping = True
        for worker in self._workers:
            if worker.pid is not None and worker.is_alive():
                os.kill(worker.pid, number)


def _work(work: Work, settings: Settings, listener: socket.socket) -> None:
    """What runs in a worker's process. It stops when its supervisor is gone, however that died."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Until it serves, Ctrl-C ends it without a word.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    supervisor = multiprocessing.parent_process()
    assert supervisor is not None

    def follow() -> None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()
    work(settings, listener)
