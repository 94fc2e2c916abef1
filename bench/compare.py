"""Compare two checkouts: `python3 dev.py python -m bench.compare PATH_TO_OTHER_CHECKOUT`.

Each round starts both checkouts, each in its own `.venv` (made there by `python3 dev.py ruff --version`) and on a new
database, and drives them in small slices that take turns. `bench/drive.py` of this checkout drives both: it calls the
whole ASGI application without sockets. For each row a round yields a ratio, the other's time over this one's, so above
1 this checkout is faster. The table shows the median of these ratios with the least and the largest.

What keeps the noise of a shared machine out:

- A slice takes milliseconds, and the other checkout's slice follows it: what slows the machine slows both.
- Of a round's slices the best counts, since other work on the machine can only add time.
- On SQLite all work happens in the process, so its processor time (all threads) counts: unlike the clock, it stands
  still while another process has the core. On PostgreSQL a change can also cost round trips or time in the server,
  which only the clock sees, so both are shown. The clock's ratios are the noisier ones.
- Processes that are started anew average out what a process keeps for its lifetime, such as the layout of its memory.
  Within a round both have the same PYTHONHASHSEED. The loop is uvloop, as in production.
- The garbage collector runs, because it is part of the price of a call. It begins each slice with nothing to do, and
  never looks at what the start has left behind.
- Nothing waits for the disk: PostgreSQL runs without fsync, and SQLite's file is in memory (on Linux). What a change
  in the number of commits costs, `python -m bench` measures.

Compare this checkout with itself (`bench.compare .`) to see how far the ratios stray from 1 on this machine.
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
LOWEST = 0.97
"""The ratio below which a row is reported as slower."""

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
    print(f"\nBelow {LOWEST}: {'; '.join(slower) or 'none'}")


def run_round(checkouts: Sequence[Path], new_database: NewDatabase, count: int, number: int) -> list[Best]:
    """Measure `count` slices of each row in new processes of both checkouts; return the best times of each."""
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
    """Drive a checkout in a process of its own environment; yield what measures one slice of a row."""
    programs = checkout / ".venv/bin"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(seed), "KINGPOST_DATABASE_URL": url}
    # The working directory must not be the checkout, whose own `bench` would be imported.
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
                sys.exit(f"{checkout} cannot be driven")
            yield measure


def report(database: str, clock: str, rounds: Sequence[Sequence[Best]]) -> list[str]:
    """Print the table of one database by one clock, and return the names of the rows that are slower."""
    print(f"\n{f'{database}, {clock}':24}  this, µs   other, µs    ratio    least  largest")
    slower = []
    for row in ROWS:
        this, other = ([getattr(best[side][row], clock) for best in rounds] for side in (0, 1))
        ratios = [theirs / ours for ours, theirs in zip(this, other, strict=True)]
        times = f"{median(this):10.1f}  {median(other):10.1f}"
        print(f"{row:24}{times}   {median(ratios):6.3f}   {min(ratios):6.3f}   {max(ratios):6.3f}", flush=True)
        if median(ratios) < LOWEST:
            slower.append(f"{row} ({database}, {clock})")
    return slower


@contextmanager
def new_sqlite() -> Iterator[str]:
    """Yield the URL of a new SQLite database, in memory where the system can."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="kingpost-bench-", dir=memory if memory.exists() else None) as directory:
        yield f"sqlite:///{directory}/bench.db"


@contextmanager
def postgresql() -> Iterator[NewDatabase]:
    """Run a PostgreSQL server; yield what makes a new database on it."""
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
