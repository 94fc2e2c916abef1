"""Run several worker processes on one listening socket."""

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
"""Seconds before a dead worker is restarted, so that a worker that dies at start does not keep the CPU busy."""

logger = logging.getLogger("kingpost.supervisor")

type WorkerMain = Callable[[Settings, socket.socket], None]


class Supervisor:
    """Keeps the configured number of workers running and forwards signals to them."""

    def __init__(self, settings: Settings, listener: socket.socket, main: WorkerMain) -> None:
        """Prepare to run `main` in each worker. It must be importable, because workers are spawned."""
        self._settings = settings
        self._listener = listener
        self._main = main
        self._context = multiprocessing.get_context("spawn")
        self._is_stopping = False
        self._workers: list[BaseProcess] = []

    def run(self) -> None:
        """Run until a signal stops the workers and all of them have exited."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: self._stop(number))
        for index in range(self._settings.workers):
            self._start(index)
        while not self._is_stopping:
            wait([worker.sentinel for worker in self._workers], timeout=0.5)
            self._replace_dead()
        # While this descriptor is open, the kernel queues connections that no worker accepts any more.
        self._listener.close()
        for worker in self._workers:
            worker.join()

    def _start(self, index: int) -> None:
        worker = self._context.Process(target=_run_worker, args=(self._main, self._settings, self._listener))
        self._workers[index : index + 1] = [worker]
        # Block SIGINT until the worker is ready: interrupting the start of the interpreter prints a traceback.
        # Start the resource tracker first, because starting it unblocks SIGINT.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            worker.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if self._is_stopping:  # The signal arrived before there was a process to forward it to.
            worker.terminate()

    def _replace_dead(self) -> None:
        for index, worker in enumerate(self._workers):
            if worker.is_alive() or self._is_stopping:
                continue
            logger.error("worker %s died with exit code %s, restarting it", worker.pid, worker.exitcode)
            time.sleep(RESTART_PAUSE)
            if not self._is_stopping:
                self._start(index)

    def _stop(self, number: int) -> None:
        self._is_stopping = True
        for worker in self._workers:
            if worker.pid is not None and worker.is_alive():
                os.kill(worker.pid, number)


def _run_worker(main: WorkerMain, settings: Settings, listener: socket.socket) -> None:
    """Run a worker in its own process, and stop it when the supervisor dies for any reason."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Until the server handles it, Ctrl-C exits silently.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    supervisor = multiprocessing.parent_process()
    assert supervisor is not None

    def stop_with_supervisor() -> None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_with_supervisor, daemon=True).start()
    main(settings, listener)
