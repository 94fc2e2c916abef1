"""Find the bodies that cost most for their size: `python3 dev.py python -m bench.worst_bodies`, about a minute.

It first searches: it combines parts of JSON, keeps what takes longest to decode, and changes it further. Then it sends
the worst bodies that it found, and the known ones below, to the whole application (`bench/asgi.py`, on SQLite).

For each body the table shows the processor time of the request, all threads together, as a ratio to a plain body of
the same size, and the longest time for which the event loop did nothing else. The bodies that held it for longest are
tried again, and the best try counts, because other work on the machine can only add time.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from bench import asgi, samples
from bench.asgi import RESOURCES
from kingpost.http.server import collection
from kingpost.jsontools.strict import decode
from kingpost.problems import Problem

MIB = 2**20
ANONYMOUS = 16 * 1024
SEARCHED = 32 * 1024
"""The size of the bodies during the search."""
BEAT = 0.001
REMEASURED = 12
"""The number of bodies that held the loop for longest at the first try, and are tried again."""
MERGE_PATCH, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"

PARTS: Mapping[str, str] = {
    "digit": "1", "integer": "123456789012345", "largest integer": "9007199254740992", "too large": "9" * 20,
    "fraction": "0.1", "17 digits": "0.30000000000000004", "halfway": "9007199254740993.5", "negative zero": "-0.0",
    "1e22": "1e22", "1e23": "1e23", "1e308": "1e308", "1e-308": "1e-308", "denormal": "5e-324",
    "largest": "1.7976931348623157e308", "1E+300": "1E+300", "infinite": "1e999", "tiny": "1e-999",
    "long integer": "17976931348623157" + "0" * 292, "long number": "17976931348623157" + "0" * 292 + ".5",
    "long fraction": "0." + "0" * 307 + "22250738585072011", "many digits": "0." + "1234567890" * 80,
    "NaN": "NaN", "null": "null", "false": "false",
    "empty text": '""', "text": '"a"', "long text": '"' + "x" * 999 + '"',
    "escape": '"\\u0041"', "escapes": '"' + "\\u0041" * 40 + '"', "quotes": '"' + '\\"' * 40 + '"', "é": '"é"',
    "emoji": '"😀"', "escaped emoji": '"\\ud83d\\ude00"', "surrogate": '"\\ud800"', "NUL": '"\\u0000"',
    "hexadecimal": '"019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"', "brackets": '"[{[{"',
    "array": "[]", "object": "{}", "arrays": "[[],[]]", "deep": "[" * 28 + "]" * 28,
    "deep objects": '{"":' * 28 + "1" + "}" * 28,
    "too deep": "[" * 40 + "]" * 40, "member": '{"a":1}', "twice": '{"a":1,"a":1}',
    "escaped twice": '{"a":1,"\\u0061":1}',
    "spaces": " 1" + " " * 40, "lines": "\n1", "not UTF-8": '"\udcff"', "malformed": "x",
    "operation": '{"op":"test","path":""}',
}  # fmt: skip
"""Values to fill a body with."""

FRAMES: Mapping[str, tuple[str, str]] = {
    "items": ('{"type":"note","data":{"l":[1', "]}}"),
    "members": ('{"type":"note","data":{"l":1', "}}"),
    "array": ("[1", "]"),
    "unknown fields": ('{"type":"note","data":{}', "}"),
    "after a deep array": ('{"type":"note","data":{"l":[' + "[" * 40 + "]" * 40, "]}}"),
    "unfinished": ('{"type":"note","data":{"l":["\\u0000"', ""),
}
"""The beginning and the end of a body. Parts become items of an array, or members with different names."""


class Shape(NamedTuple):
    """A body of any size, described by the names of its frame and of the parts that it repeats."""

    frame: str
    parts: tuple[str, ...]

    def body(self, size: int) -> bytes:
        """Return the body with at most `size` bytes."""
        head, tail = FRAMES[self.frame]
        named = self.frame in ("members", "unknown fields")
        pieces, left, number = [head], size - len(head) - len(tail), 0
        while True:
            part = PARTS[self.parts[number % len(self.parts)]]
            piece = f',"{number}":{part}' if named else f",{part}"
            left -= len(piece.encode(errors="surrogateescape"))
            if left < 0:
                return ("".join(pieces) + tail).encode(errors="surrogateescape")
            pieces.append(piece)
            number += 1

    def __str__(self) -> str:
        return f"{self.frame}: {', '.join(self.parts)}"


def search(seconds: float, source: random.Random) -> list[Shape]:
    """Return the worst shapes that a hill climb from each frame finds, the worst first."""
    costs: dict[Shape, float] = {}

    def cost(shape: Shape) -> float:
        if shape not in costs:
            costs[shape] = _decoding(shape.body(SEARCHED))
        return costs[shape]

    for frame in FRAMES:
        best = max((Shape(frame, (part,)) for part in PARTS), key=cost)
        until = time.monotonic() + seconds / len(FRAMES)
        while time.monotonic() < until:
            best = max(best, _changed(best, source), key=cost)
    return sorted(costs, key=cost, reverse=True)


def _changed(shape: Shape, source: random.Random) -> Shape:
    parts = list(shape.parts)
    place = source.randrange(len(parts) + 1)
    parts[place : place + source.randint(0, 2)] = source.choices(list(PARTS), k=source.randint(1, 2))
    return Shape(shape.frame, tuple(parts[:4]))


def _decoding(body: bytes) -> float:
    """Return the processor time that decoding takes: the best of two tries."""
    times = []
    for _ in range(2):
        began = time.thread_time()
        with contextlib.suppress(Problem):
            decode(body)
        times.append(time.thread_time() - began)
    return min(times)


class Request(NamedTuple):
    """A request to measure. A patch is sent to a new resource with the given body."""

    name: str
    body: bytes
    method: str = "POST"
    path: str = RESOURCES
    media_type: str = "application/json"
    resource: bytes = b""


class Cost(NamedTuple):
    """The cost of a request in seconds: of processor time, and the longest time that the event loop was held."""

    status: int
    processor: float
    held: float


def plain(size: int) -> bytes:
    """Return a body of many typical documents, with texts that are long enough for the limit of keys."""
    source, documents, left = random.Random(1), [], size - 50
    while True:
        document = samples.data(source)
        document["plot"] *= 12
        left -= len(_text(document)) + 1
        if left < 0:
            break
        documents.append(document)
    return _text({"type": "note", "data": {"documents": documents}})


def _text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def requests(found: Sequence[Shape]) -> Iterator[Request]:
    """Yield the requests of the table."""
    known = [Shape("items", (part,)) for part in PARTS] + [
        Shape("members", ("1e308",)), Shape("unknown fields", ("digit",)), Shape("unfinished", ("digit",)),
    ]  # fmt: skip
    for shape in dict.fromkeys([*found, *known]):
        yield Request(str(shape), shape.body(MIB))
    for part in ("1e308", "array", "NaN", "surrogate"):
        for frame in ("items", "unknown fields"):
            shape = Shape(frame, (part,))
            yield Request(f"login: {shape}", shape.body(ANONYMOUS), path="/api/v1/auth/login")
    scopes = '{"name":"x","scopes":[1' + ",1" * (MIB // 2 - 20) + "]}"
    yield Request("scopes that are numbers", scopes.encode(), path="/api/v1/api-keys")
    yield from patches()


def patches() -> Iterator[Request]:
    """Yield patches of documents with nearly a mebibyte."""
    text = "x" * (MIB - 100)
    documents = {
        "a text": f'{{"type":"note","data":{{"a":{{"b":1}},"t":"{text}"}}}}'.encode(),
        "plain": plain(MIB - 1000),
        "digits": Shape("items", ("digit",)).body(MIB - 1000),
        "1e308": Shape("items", ("1e308",)).body(MIB - 1000),
        "deep": Shape("items", ("deep",)).body(MIB - 1000),
    }

    def patch(of: str, name: str, operations: Any, media_type: str = JSON_PATCH) -> Request:
        body = _text(operations)
        return Request(f"{of}: {name}", body, "PATCH", RESOURCES, media_type, documents[of])

    for of in documents:
        yield patch(of, "merge one member", {"data": {"n": 1}}, MERGE_PATCH)
        yield patch(of, "50 additions, 50 tests", tests(50))
    for of in ("digits", "1e308", "deep"):
        yield patch(of, "100 inserts at the head", [{"op": "add", "path": "/data/l/0", "value": 1}] * 100)
        yield patch(of, "100 copies of an item", [{"op": "copy", "from": "/data/l/1", "path": "/data/l/0"}] * 100)
        there = {"op": "move", "from": "/data/l", "path": "/data/m"}
        back = {"op": "move", "from": "/data/m", "path": "/data/l"}
        yield patch(of, "100 moves of everything", [there, back] * 50)
        remove = {"op": "remove", "path": "/data/m"}
        yield patch(
            of, "copy and remove everything", [{"op": "copy", "from": "/data/l", "path": "/data/m"}, remove] * 50
        )
        yield patch(
            of, "test everything", [{"op": "test", "path": "/data/l", "value": json.loads(documents[of])["data"]["l"]}]
        )
    doubling = [{"op": "copy", "from": "/data/a", "path": f"/data/a/x{n}"} for n in range(100)]
    yield patch("a text", "copies that double", doubling)
    yield patch("a text", "long path", [{"op": "test", "path": "/data" + "/a" * (MIB // 2 - 99), "value": 1}])
    yield patch("a text", "200,000 operations", [1] * 200_000)
    yield patch("a text", "10,000 operations", [{"op": "test", "path": "", "value": 1}] * 9_000)


def tests(count: int) -> list[Any]:
    """Return operations that add members, each with a test of its value."""
    steps = [{"path": f"/data/n{number}", "value": number} for number in range(count)]
    return [{"op": op, **step} for step in steps for op in ("add", "test")]


class Meter:
    """Sends requests to an application, and measures how they hold up the event loop."""

    def __init__(self, application: Any, token: str) -> None:
        self._application = application
        self._token = token

    async def cost(self, request: Request, tries: int) -> Cost:
        """Return the cost of a request, the best of several tries."""
        costs = []
        for _ in range(tries):
            path = request.path
            if request.resource:
                status, created = await self._send(Request("", request.resource))
                assert status == 201, (request.name, status, created[:300])
                path = f"{RESOURCES}/{json.loads(created)['id']}"
            gc.collect()
            heart = asyncio.create_task(_heartbeat(gaps := [0.0]))
            await asyncio.sleep(5 * BEAT)
            gaps.clear()
            began = time.process_time()
            status, _ = await self._send(request._replace(path=path))
            processor = time.process_time() - began
            await asyncio.sleep(2 * BEAT)
            heart.cancel()
            costs.append(Cost(status, processor, max(gaps)))
        return Cost(costs[0].status, min(cost.processor for cost in costs), min(cost.held for cost in costs))

    async def _send(self, request: Request) -> tuple[int, bytes]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": request.body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        path = request.path.encode()
        headers = [
            (b"host", b"127.0.0.1:8000"), (b"authorization", f"Bearer {self._token}".encode()),
            (b"content-type", request.media_type.encode()), (b"accept-encoding", b"gzip" if request.name else b""),
        ]  # fmt: skip
        scope = {
            "type": "http", "method": request.method, "scheme": "http", "path": request.path, "raw_path": path,
            "query_string": b"", "headers": headers, "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 9),
            "http_version": "1.1", "state": {},
        }  # fmt: skip
        await self._application(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


async def _heartbeat(gaps: list[float]) -> None:
    """Note for how long the event loop was held between beats, in seconds.

    It is the time by the clock or the processor time of all threads, whichever is less: when other programs use the
    processor, the clock goes on.
    """
    while True:
        began, used = time.perf_counter(), time.process_time()
        await asyncio.sleep(BEAT)
        gaps.append(max(0.0, min(time.perf_counter() - began - BEAT, time.process_time() - used)))


def _held(row: tuple[Request, Cost]) -> float:
    return row[1].held


async def main(options: argparse.Namespace, say: Callable[[str], None] = print) -> float:
    """Print the table. Return the longest time in seconds that a body held the event loop."""
    say(f"Searching for {options.seconds:g} seconds")
    found = search(options.seconds, random.Random(options.seed))[: options.found]
    with tempfile.TemporaryDirectory(prefix="kingpost-bench-") as name:
        async with asgi.running(f"sqlite:///{name}/bench.db", Path(name)) as kingpost:
            _, token = await asgi.sign_in(kingpost.application)
            meter = Meter(kingpost.application, token)
            collection.start(asyncio.get_running_loop())  # As the server does.
            plain_costs = {size: await meter.cost(Request("plain", plain(size)), 5) for size in (ANONYMOUS, MIB)}
            rows = []
            for request in requests(found):
                if options.only in request.name:
                    rows.append((request, await meter.cost(request, 1)))
            rows.sort(key=_held, reverse=True)
            rows[:REMEASURED] = [
                (request, await meter.cost(request, options.tries)) for request, _ in rows[:REMEASURED]
            ]
    say(f"{'body':64}{'status':>8}{'bytes':>10}{'ms':>9}{'ratio':>8}{'held, ms':>10}")
    rows = [*((Request("plain", plain(size)), cost) for size, cost in plain_costs.items()), *rows]
    for request, cost in sorted(rows, key=_held, reverse=True)[: options.rows]:
        size = max(len(request.body), len(request.resource))
        base = plain_costs[ANONYMOUS if size <= ANONYMOUS else MIB]
        ratio = cost.processor / base.processor
        say(
            f"{request.name[:62]:64}{cost.status:8}{len(request.body):10}{cost.processor * 1e3:9.1f}{ratio:8.1f}"
            f"{cost.held * 1e3:10.1f}"
        )
    return max(cost.held for _, cost in rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.worst_bodies", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="how long to search")
    parser.add_argument("--found", type=int, default=12, help="how many shapes of the search to measure")
    parser.add_argument("--rows", type=int, default=1000, help="how many rows to print")
    parser.add_argument("--tries", type=int, default=3, help="tries of the worst bodies")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only the bodies with this in their name")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(parser.parse_args()))
