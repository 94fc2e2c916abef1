"""Putting a server under load with wrk."""

import subprocess
from pathlib import Path

import msgspec

SCRIPT = Path(__file__).with_name("wrk.lua")


class Work(msgspec.Struct, frozen=True):
    """A kind of request. `lines` are sent in random order: as bodies by POST, otherwise as ends of the path."""

    name: str
    method: str
    path: str
    lines: tuple[str, ...]


class Result(msgspec.Struct, frozen=True):
    """What came of a run.

    Attributes:
        rate: answers a second, of any status.
        p50, p95, p99: milliseconds from request to answer.
        refused: answers with a status of 400 or more.
        broken: connections that failed.
        late: how often wrk found a connection that had waited two seconds for its answer.
        cpu: microseconds of processor time that the server spent on each answer. Busy neighbours on the
            machine change it far less than the rate.
    """

    rate: float
    p50: float
    p95: float
    p99: float
    refused: int
    broken: int
    late: int
    cpu: float = 0.0


def run(work: Work, port: int, token: str, connections: int, seconds: int, directory: Path) -> Result:
    """Repeat a kind of request on so many connections, each waiting for its answer before it asks again."""
    file = directory / f"{work.name}.txt"
    if not file.exists():
        file.write_text("\n".join(work.lines) + "\n")
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(SCRIPT)]
    arguments = [work.method, work.path, str(file), token]
    command = ["wrk", *options, f"http://127.0.0.1:{port}", "--", *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    line = next(line for line in output.splitlines() if line.startswith("RESULT "))
    return msgspec.json.decode(line.removeprefix("RESULT "), type=Result)
