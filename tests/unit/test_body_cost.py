"""The cost of bodies: whatever their shape, they cost a small multiple of a plain body, and no call takes long."""

import asyncio
import contextlib
import gc
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from bench.worst_bodies import BEAT, Shape, plain
from kingpost.http.app.input import MAX_ITEMS, _abridged, schema_faults
from kingpost.http.app.schemas import JSONPatchOperation
from kingpost.http.server import collection
from kingpost.jsontools import json_patch, merge_patch
from kingpost.jsontools.strict import JSONLimits, decode, decode_stored
from kingpost.jsontools.worker import SMALL, Worker
from kingpost.model import Resource
from kingpost.problems import MAX_FAULTS, InvalidRequest, Problem, TooLarge
from kingpost.resources.schemas import CreateResource
from kingpost.resources.service import Resources
from tests.timing import assert_linear

SIZE = 512 * 1024
TRIES = 4
COSTS_AT_MOST = 100 if sys.gettrace() is None else 300
"""The bound of a body's processor time, as a ratio to a plain body. The worst known body has 30, and four times as much
under the tracer of coverage, because the decoders for such bodies are written in Python."""
HOLDS_AT_MOST = 10
"""The bound of the longest time that the loop is held, as a ratio to the whole time of a plain body. Before the bound,
bodies held it for up to 300 times as long."""

SHAPES = [
    *(Shape("items", (part,)) for part in ("1e308", "denormal", "largest", "1e23", "infinite", "long number", "digit")),
    *(Shape("items", (part,)) for part in ("array", "object", "deep", "deep objects", "member", "too deep", "twice")),
    *(Shape("items", (part,)) for part in ("NaN", "surrogate", "escape", "emoji", "spaces", "not UTF-8", "brackets")),
    *(Shape("unknown fields", (part,)) for part in ("digit", "deep", "1e308")),
    *(Shape("after a deep array", (part,)) for part in ("empty text", "text", "brackets", "digit", "false")),
    *(Shape("unfinished", (part,)) for part in ("empty text", "false", "NaN")),
    *(Shape("items", (part,)) for part in ("1E+300", "negative zero")),
    Shape("members", ("escaped twice", "fraction", "deep")),
    Shape("array", ("operation",)),
    Shape("unfinished", ("digit", "array")),
]


def work_on(body: bytes) -> None:
    """Do what a request does with its body."""
    with contextlib.suppress(Problem):
        msgspec.json.encode(decode(body))


@pytest.fixture
def rare_collections() -> Iterator[None]:
    """Collect garbage as the server does. The test process has far more objects."""
    before = gc.get_threshold()
    gc.collect()
    gc.set_threshold(*collection.THRESHOLDS)
    gc.freeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("rare_collections")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
async def test_a_body_costs_little_and_holds_the_loop_for_a_short_time(shape: Shape) -> None:
    usual, body = plain(SIZE), shape.body(SIZE)
    for last in (False,) * (TRIES - 1) + (True,):
        began = time.process_time()
        work_on(usual)
        usual_cost = time.process_time() - began
        cost, held = await _measure(body)
        if cost < COSTS_AT_MOST * usual_cost and held < HOLDS_AT_MOST * usual_cost:
            return
        assert not last, f"{cost / usual_cost:.1f} times the cost of a plain body, held {held / usual_cost:.1f} times"


async def _measure(body: bytes) -> tuple[float, float]:
    """Work on a body in a worker. Return the processor time, and the longest time that the loop was held."""
    worker, gaps = Worker(), [0.0]

    async def beat() -> None:
        while True:
            clock, used = time.perf_counter(), time.process_time()
            await asyncio.sleep(BEAT)
            gaps.append(min(time.perf_counter() - clock, time.process_time() - used))

    heart = asyncio.create_task(beat())
    await asyncio.sleep(5 * BEAT)
    began = time.process_time()
    await worker.run(len(body), work_on, body)
    cost = time.process_time() - began
    await asyncio.sleep(2 * BEAT)
    heart.cancel()
    worker.close()
    return cost, max(gaps)


@pytest.mark.parametrize("part", ["1e308", "deep", "twice", "surrogate", "too deep", "digit", "too large"])
def test_the_cost_of_a_body_is_linear(part: str) -> None:
    assert_linear(lambda size: work_on(Shape("items", (part,)).body(size)), 16 * 1024)


async def test_small_work_is_done_at_once_and_large_work_in_one_thread() -> None:
    worker, threads = Worker(), []

    def work(fails: bool) -> int:
        threads.append(threading.get_ident())
        if fails:
            raise TooLarge
        return len(threads)

    assert await worker.run(SMALL, work, False) == 1
    assert await worker.run(SMALL + 1, work, False) == 2
    assert sorted(await asyncio.gather(*[worker.run(SMALL + 1, work, fails=False) for _ in range(3)])) == [3, 4, 5]
    with pytest.raises(TooLarge):
        await worker.run(SMALL + 1, work, fails=True)
    assert threads[0] == threading.get_ident()
    assert len({*threads[1:]} - {threads[0]}) == 1
    worker.close()


# Faults of the schema


def test_faults_are_sought_in_few_items() -> None:
    body: dict[str, Any] = {"type": [0] * 5000, "data": {f"{n}": [[0] * 9] * 200 for n in range(100)}, "x": [[{}] * 9]}
    part = _abridged(body)

    assert part["type"] == [0] * (MAX_FAULTS + 1)
    assert part["data"].keys() == body["data"].keys()
    assert sum(map(len, part["data"].values())) == MAX_ITEMS - MAX_FAULTS - 1
    assert part["x"] == []
    assert _abridged({"a": {"b": {"c": {"d": 1}}}}) == {"a": {"b": {"c": {}}}}


def test_the_first_faults_are_found_in_a_long_array() -> None:
    operations: list[Any] = [{"op": "test", "path": ""}, 1] * 100_000
    faults = [fault.pointer for fault in schema_faults(operations, list[JSONPatchOperation])]

    assert faults == [f"/{index}" for index in range(1, MAX_FAULTS + 1, 2)]


@pytest.mark.parametrize("data", [[0] * 10, [[]] * 10, [{}] * 10])
def test_the_cost_of_faults_is_that_of_a_copy(data: list[Any]) -> None:
    def work(size: int) -> None:
        list(schema_faults({"type": 1, "data": {"list": data * size}}, CreateResource))

    assert_linear(work, 2_000)


# Patches of resources

NUMBERS = '{"z":-0.0,"a":0,"m":1e308,"i":9007199254740992,"j":-9007199254740992,"f":1.0,"s":5e-324,"d":0.1,"e":"é"}'


def patched(data: str, patch: Any, *, limits: JSONLimits | None = None, size_limit: int = 100_000) -> str:
    resource = Resource("id", "note", "owner", msgspec.Raw(data.encode()), 1, "", "")
    worker: Any = None
    resources = Resources(worker, worker, limits or JSONLimits(), size_limit)
    return bytes(resources._patched(resource, patch)).decode()


@pytest.mark.parametrize("other", ["", ',"l":[' + ",".join(["1e308"] * 200) + "]"])
def test_a_patch_keeps_the_numbers_and_the_order_of_other_members(other: str) -> None:
    data = NUMBERS.removesuffix("}") + other + "}"
    expected = data.removesuffix("}") + ',"new":1}'

    assert patched(data, lambda document: merge_patch.apply(document, {"data": {"new": 1}})) == expected
    add = [{"op": "add", "path": "/data/new", "value": 1}]
    assert patched(data, lambda document: json_patch.apply(document, add, 100_000)) == expected


def test_a_patched_document_has_the_limits_of_a_body() -> None:
    def put(value: Any) -> Any:
        return lambda document: {"data": value}

    assert patched("{}", put({"a": [[]]}), limits=JSONLimits(depth=4)) == '{"a":[[]]}'
    for value, limits, code in (
        ({"a": [[]]}, JSONLimits(depth=3), "too_deep"),
        ({"a": 1, "b": 2}, JSONLimits(keys=2), "too_many_keys"),
        ([], JSONLimits(), "type"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            patched("{}", put(value), limits=limits)
        assert [fault.code for fault in refused.value.faults] == [code]
    assert patched("{}", put({"a": "::::"}), limits=JSONLimits(keys=2)) == '{"a":"::::"}'
    assert patched("{}", put({"a": "x"}), size_limit=18)
    with pytest.raises(TooLarge):
        patched("{}", put({"a": "x"}), size_limit=17)


def test_stored_texts_are_decoded_whatever_the_limits_are_now() -> None:
    for text in (
        NUMBERS,
        "[" * 100 + "]" * 100,
        "[" + ",".join(["1e308", "-0.0", "1" + "0" * 308] * 500) + "]",
        "[[],{}]",
    ):
        assert msgspec.json.encode(decode_stored(text.encode())).decode() == text


# Garbage


def test_full_collections_happen_at_intervals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loop:
        def __init__(self) -> None:
            self.calls: list[tuple[float, Any, Any]] = []

        def call_later(self, delay: float, call: Any, argument: Any) -> None:
            self.calls.append((delay, call, argument))

    done: list[Any] = []
    monkeypatch.setattr(gc, "collect", lambda: done.append("collect"))
    monkeypatch.setattr(gc, "freeze", lambda: done.append("freeze"))
    monkeypatch.setattr(gc, "set_threshold", lambda *thresholds: done.append(thresholds))
    loop: Any = Loop()

    collection.start(loop)
    assert done == ["collect", "freeze", collection.THRESHOLDS]
    for _ in range(2):
        (delay, call, argument) = loop.calls.pop()
        assert delay == collection.INTERVAL
        call(argument)
    assert done[3:] == ["collect", "collect"]
