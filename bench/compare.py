"""Compare the speed of two checkouts: `python3 dev.py python -m bench.compare PATH_TO_OTHER_CHECKOUT`.

Each checkout needs its own `.venv`, which `python3 dev.py ruff --version` creates. Each round starts both checkouts on
new databases, and measures them alternately in short slices. `bench/drive.py` of this checkout drives both: it calls
the whole ASGI application without sockets. Each round yields one ratio for each row: the time of the other checkout
divided by the time of this one. Above 1, this checkout is faster. The table shows the median, the minimum and the
maximum of these ratios.

Precautions against the noise of a shared machine:

- A slice takes milliseconds, and the slice of the other checkout follows directly. A slow phase of the machine affects
  both.
- The best slice of a round counts, because other work on the machine can only add time.
- On SQLite all work happens in the process, so its processor time (of all threads) counts. Unlike the clock, it does
  not run while another process uses the core. On PostgreSQL a change can also cost round trips or time in the server.
  Only the clock measures these, so the tables show both. The ratios of the clock are noisier.
- New processes average out effects that last for the lifetime of a process, such as its memory layout. Within a round
  both have the same PYTHONHASHSEED. The event loop is uvloop, as in production.
- The garbage collector runs, because it is part of the cost of a call. It runs once before each slice, and ignores the
  objects that were created during startup.
- Nothing waits for the disk. PostgreSQL runs without fsync, and the SQLite file is in memory (on Linux). To measure
  the cost of commits, use `python -m bench`.

Compare this checkout with itself (`bench.compare .`) to see how much the ratios vary on this machine. On two cores at a
load average of 5 to 10 it was 2% by processor time and 3% by the clock. At 15 it was still 3% on SQLite, but the ratios
of PostgreSQL were meaningless.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from statistics import median

from bench import samples
from bench.drive import ROWS, Times
from bench.servers import ROOT
from tests.servers import PostgreSQLServer, execute

BODIES = 1_000
MIN_RATIO = 0.97
"""Rows with a lower ratio are reported as slower."""

type NewDatabase = Callable[[], AbstractContextManager[str]]
type Best = Mapping[str, Times]
"""The best times of each row."""


def main(arguments: Sequence[str]) -> None:
    options = _options(arguments)
    checkouts = (ROOT, options.other.resolve())
    slower: list[str] = []
    with postgresql() as new_postgresql:
        for database, new, clocks in (
            ("SQLite", new_sqlite, ["processor"]),
            ("PostgreSQL", new_postgresql, ["processor", "clock"]),
        ):
            rounds = [run_round(checkouts, new, options.count, number) for number in range(options.rounds)]
            for clock in clocks:
                slower += report(database, clock, rounds)
    print(f"\nBelow {MIN_RATIO}: {'; '.join(slower) or 'none'}")


def run_round(checkouts: Sequence[Path], new_database: NewDatabase, count: int, number: int) -> list[Best]:
    """Measure `count` slices of each row in new processes of both checkouts. Return the best times of each."""
    slices: list[dict[str, list[Times]]] = [{row: [] for row in ROWS} for _ in checkouts]
    with ExitStack() as stack:
        urls = [stack.enter_context(new_database()) for _ in checkouts]
        measures = [stack.enter_context(driver(*each, number)) for each in zip(checkouts, urls, strict=True)]
        for row in ROWS:
            for turn in range(count):
                for side in (0, 1) if (turn + number) % 2 else (1, 0):
                    slices[side][row].append(measures[side](row))
    return [
        {row: Times(min(t.processor for t in times), min(t.clock for t in times)) for row, times in each.items()}
        for each in slices
    ]


@contextmanager
def driver(checkout: Path, url: str, seed: int) -> Iterator[Callable[[str], Times]]:
    """Drive a checkout in a new process with its own environment. Yield a function that measures a slice of a row."""
    programs = checkout / ".venv/bin"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(seed), "KINGPOST_DATABASE_URL": url}
    # In the directory of the checkout, Python would import its `bench`.
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([f"{programs}/kingpost", "migrate"], cwd=directory, env=environment, stdout=-3, check=True)
        Path(directory, "bodies").write_text("\n".join(samples.bodies(BODIES)))
        command, pipe = [f"{programs}/python", "-m", "bench.drive", url, "bodies"], subprocess.PIPE
        with subprocess.Popen(command, cwd=directory, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
            stdin, stdout = process.stdin, process.stdout
            assert stdin is not None
            assert stdout is not None

            def measure(row: str) -> Times:
                print(row, file=stdin, flush=True)
                return Times(*map(float, stdout.readline().split()))

            if not stdout.readline():
                sys.exit(f"Cannot start {checkout}")
            yield measure


def report(database: str, clock: str, rounds: Sequence[Sequence[Best]]) -> list[str]:
    """Print the table of one database and one clock, and return the names of the slower rows."""
    print(f"\n{f'{database}, {clock}':24}  this, µs   other, µs    ratio      min      max")
    slower = []
    for row in ROWS:
        this, other = ([getattr(best[side][row], clock) for best in rounds] for side in (0, 1))
        ratios = [theirs / ours for ours, theirs in zip(this, other, strict=True)]
        times = f"{median(this):10.1f}  {median(other):10.1f}"
        print(f"{row:24}{times}   {median(ratios):6.3f}   {min(ratios):6.3f}   {max(ratios):6.3f}", flush=True)
        if median(ratios) < MIN_RATIO:
            slower.append(f"{row} ({database}, {clock})")
    return slower


@contextmanager
def new_sqlite() -> Iterator[str]:
    """Yield the URL of a new SQLite database, in memory if the system supports it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="kingpost-bench-", dir=memory if memory.exists() else None) as directory:
        yield f"sqlite:///{directory}/bench.db"


@contextmanager
def postgresql() -> Iterator[NewDatabase]:
    """Run a PostgreSQL server. Yield a function that creates a database on it."""
    server = PostgreSQLServer()

    @contextmanager
    def new() -> Iterator[str]:
        name = f"bench_{os.urandom(8).hex()}"
        asyncio.run(execute(server.url(), f"CREATE DATABASE {name}"))
        yield server.url(name)
        asyncio.run(execute(server.url(), f"DROP DATABASE {name} WITH (FORCE)"))

    try:
        yield new
    finally:
        server.remove()


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="the other checkout, with its own .venv")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=40, help="slices of each row in a round")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
