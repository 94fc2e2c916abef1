"""Compare the speed of Kingpost with the floor (`bench/floor.py`) in interleaved rounds, and write a report.

With two or more cores, the server runs on the first ones (one for each worker). wrk and PostgreSQL run on the others.
"""

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec

from bench import chart, databases, machine, report, samples, servers, wrk
from bench.report import Footprint, Measured, Row
from bench.servers import Server
from bench.wrk import Request

STARTS = 5
IDS = 20_000
BODIES = 1_000
WARM_UP = 1


def main(arguments: Sequence[str]) -> None:
    options = _options(arguments)
    machine.use_all_descriptors()
    facts = machine.facts()
    server_cores, load_cores = machine.share_out(options.workers)
    os.sched_setaffinity(0, load_cores)  # PostgreSQL and wrk inherit this.
    kinds = ["sqlite", "postgresql"] if options.database == "both" else [options.database]
    measured = [measure(kind, options, server_cores) for kind in kinds]
    facts["Load"] = f"{options.rounds} interleaved rounds of {options.seconds} s each, wrk with 1 thread"
    facts["Server"] = f"{options.workers} worker{'s' * (options.workers > 1)}"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.md").write_text(report.markdown(facts, measured))
    (options.out / "results.svg").write_text(chart.svg(measured))
    print(f"\nWritten to {options.out}/results.md and results.svg")


def measure(kind: str, options: argparse.Namespace, cores: machine.Cores) -> Measured:
    """Measure both servers on one kind of database."""
    with tempfile.TemporaryDirectory(prefix="kingpost-bench-") as name, databases.database(kind, Path(name)) as url:
        directory = Path(name)
        kingpost = servers.kingpost(url, directory, cores, options.workers)
        kingpost.start()
        owner_id = servers.sign_up(kingpost)
        kingpost.stop()
        print(f"{databases.version(url)}: loading {options.resources:,} resources …", flush=True)
        stored = list(samples.resources(options.resources, owner_id))
        databases.fill(url, stored)
        requests = _requests([r.id for r in random.Random(3).sample(stored, min(IDS, len(stored)))])
        del stored
        floor = servers.floor(url, owner_id, directory, cores, options.workers)
        footprints: list[Footprint] = []
        try:
            starts = {server.name: _measure_start(server) for server in (kingpost, floor)}
            idle = {server.name: machine.memory(server.pid) for server in (kingpost, floor)}
            rows = _rounds(requests, kingpost, floor, options, directory)
            for server in (kingpost, floor):
                busy = machine.memory(server.pid)
                footprints.append(Footprint(server.name, starts[server.name], *idle[server.name], *busy))
        finally:
            kingpost.stop()
            floor.stop()
        return Measured(databases.version(url), rows, footprints)


def _rounds(
    requests: Sequence[Request], kingpost: Server, floor: Server, options: argparse.Namespace, directory: Path
) -> list[Row]:
    token = servers.log_in(kingpost)
    for server in (kingpost, floor):
        for request in requests:
            wrk.run(request, server.port, token, 64, WARM_UP, directory)
    rows = [Row(request.name, connections, [], []) for connections in options.connections for request in requests]
    for turn in range(options.rounds):
        for row in rows:
            request = next(request for request in requests if request.name == row.request)
            # Alternate the order, so that no server always runs directly after the inserts of the other.
            for server in (kingpost, floor) if turn % 2 else (floor, kingpost):
                token = servers.log_in(kingpost)  # A token expires after ten minutes.
                result = _run(request, server, token, row.connections, options.seconds, directory)
                (row.kingpost if server is kingpost else row.floor).append(result)
            print(report.progress(turn, row), flush=True)
    return rows


def _run(request: Request, server: Server, token: str, connections: int, seconds: int, directory: Path) -> wrk.Result:
    before = machine.processor_seconds(server.pid)
    result = wrk.run(request, server.port, token, connections, seconds, directory)
    spent = machine.processor_seconds(server.pid) - before
    return msgspec.structs.replace(result, cpu=spent / (result.rate * seconds) * 1e6)


def _measure_start(server: Server) -> float:
    """Start a server several times and leave it running. Return the median of the start times in milliseconds."""
    times = []
    for _ in range(STARTS):
        server.stop()
        times.append(server.start())
    return median(times)


def _requests(ids: Sequence[str]) -> list[Request]:
    path = "/api/v1/resources"
    return [
        Request("get", "GET", f"{path}/", tuple(ids)),
        Request("list", "GET", f"{path}?limit=20", ("",)),
        Request("create", "POST", path, tuple(samples.bodies(BODIES))),
    ]


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--connections", type=_numbers, default=[64, 1000], help="comma-separated; default 64,1000")
    parser.add_argument("--seconds", type=int, default=5, help="duration of each run")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; the report shows their medians")
    parser.add_argument("--resources", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=servers.ROOT / "docs" / "benchmarks")
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main(sys.argv[1:])
