"""Generate load on a server with wrk."""

import subprocess
from pathlib import Path

import msgspec

SCRIPT = Path(__file__).with_name("wrk.lua")


class Request(msgspec.Struct, frozen=True):
    """A kind of request. `lines` are used in random order: as bodies of POST requests, otherwise as path suffixes."""

    name: str
    method: str
    path: str
    lines: tuple[str, ...]


class Result(msgspec.Struct, frozen=True):
    """The result of a run.

    Attributes:
        rate: responses per second, of any status.
        p50, p95, p99: milliseconds from request to response.
        refused: responses with a status of 400 or more.
        broken: connections that failed.
        late: how often wrk found a connection that had waited two seconds for its response.
        cpu: microseconds of processor time that the server used for each response. Other work on the machine
            changes it much less than the rate.
    """

    rate: float
    p50: float
    p95: float
    p99: float
    refused: int
    broken: int
    late: int
    cpu: float = 0.0


def run(request: Request, port: int, token: str, connections: int, seconds: int, directory: Path) -> Result:
    """Repeat a kind of request on several connections. Each connection waits for the response before the next one."""
    file = directory / f"{request.name}.txt"
    if not file.exists():
        file.write_text("\n".join(request.lines) + "\n")
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(SCRIPT)]
    arguments = [request.method, request.path, str(file), token]
    command = ["wrk", *options, f"http://127.0.0.1:{port}", "--", *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    line = next(line for line in output.splitlines() if line.startswith("RESULT "))
    return msgspec.json.decode(line.removeprefix("RESULT "), type=Result)
