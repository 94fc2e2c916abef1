"""The contract of `Jobs`, sentence by sentence, on every database and with many workers on two nodes."""

import asyncio

import msgspec
import pytest

from kingpost import clock
from kingpost.jobs.store import Claim, ClaimedJob
from kingpost.storage.writes import Refused
from tests.nodes import Node
from tests.storage.samples import LONG_AGO, add_user, new_job, nodes_in_turn, race, tally

FAR_FUTURE = "2099-01-01T00:00:00.000Z"


async def claim_one(storage: Node, lease: int = 60) -> ClaimedJob:
    (claimed,) = await storage.jobs.claim(1, lease)
    return claimed


async def claim_when_due(storage: Node) -> ClaimedJob:
    """Wait for the next due job and claim it."""
    async with asyncio.timeout(10):
        while not (claimed := await storage.jobs.claim(1, 60)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return claimed[0]


async def is_empty(storage: Node) -> bool:
    return not await storage.jobs.claim(100, 60)


# --- claiming ------------------------------------------------------------------------------------


async def test_a_new_job_is_due_immediately_and_is_read_as_stored(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    jobs = [new_job("mail", user.id), new_job("call", None, b""), new_job("Ünïcode 🦊", sealed=bytes(range(256)))]
    await nodes[0].jobs.add(*jobs)
    assert list(await nodes[1].jobs.claim(10, 60)) == [ClaimedJob(job, 1) for job in jobs]


async def test_claiming_without_jobs_returns_nothing(storage: Node) -> None:
    await storage.jobs.add()
    assert list(await storage.jobs.claim(10, 60)) == []


async def test_the_longest_due_jobs_are_claimed_first(nodes: list[Node]) -> None:
    jobs = [new_job(str(n)) for n in range(5)]
    for job in reversed(jobs):
        await nodes[0].jobs.add(job)
        await asyncio.sleep(0.005)
    kinds = [[claimed.job.kind for claimed in await nodes[1].jobs.claim(2, 60)] for _ in range(3)]
    assert kinds == [["3", "4"], ["1", "2"], ["0"]]


@pytest.mark.parametrize("most", [1, 3, 10])
async def test_no_more_jobs_are_claimed_than_requested(storage: Node, most: int) -> None:
    await storage.jobs.add(*[new_job() for _ in range(7)])
    taken = [len(await storage.jobs.claim(most, 60)) for _ in range(8)]
    assert sum(taken) == 7
    assert taken[0] == min(most, 7)
    assert max(taken) <= most


async def test_two_workers_never_claim_the_same_job(nodes: list[Node]) -> None:
    await nodes[0].jobs.add(*[new_job(str(n)) for n in range(40)])
    claimed: list[ClaimedJob] = []

    async def work(node: Node) -> None:
        while taken := await node.jobs.claim(3, 60):
            assert len(taken) <= 3
            claimed.extend(taken)

    # On PostgreSQL a worker that skips locked jobs may find none, and ends: another worker has the job.
    await asyncio.gather(*[work(node) for node in nodes_in_turn(nodes)])
    while rest := await nodes[0].jobs.claim(3, 60):
        claimed.extend(rest)
    assert sorted(int(one.job.kind) for one in claimed) == list(range(40))
    assert {one.attempt for one in claimed} == {1}


async def test_exactly_one_of_many_workers_claims_a_job(nodes: list[Node]) -> None:
    await nodes[0].jobs.add(new_job())
    outcomes = await asyncio.gather(*[node.jobs.claim(5, 60) for node in nodes_in_turn(nodes)])
    assert sorted(len(outcome) for outcome in outcomes) == [0] * 15 + [1]


async def test_a_claimed_job_is_hidden_until_its_lease_ends(nodes: list[Node]) -> None:
    await nodes[0].jobs.add(new_job())
    first = await claim_one(nodes[0], lease=1)
    assert await is_empty(nodes[1])
    second = await claim_when_due(nodes[1])
    assert (second.job, second.attempt) == (first.job, first.attempt + 1)


async def test_attempts_count_up(storage: Node) -> None:
    await storage.jobs.add(new_job())
    assert [(await claim_one(storage, lease=0)).attempt for _ in range(4)] == [1, 2, 3, 4]


# --- finishing and postponing --------------------------------------------------------------------


async def test_a_finished_job_is_deleted(nodes: list[Node]) -> None:
    await nodes[0].jobs.add(new_job())
    held = await claim_one(nodes[0], lease=0)
    await nodes[1].jobs.finish(held.claim)
    assert await is_empty(nodes[0])
    await nodes[1].jobs.finish(held.claim)


async def test_a_postponed_job_is_due_after_the_delay(nodes: list[Node]) -> None:
    await nodes[0].jobs.add(new_job(), new_job("later"))
    soon, later = await nodes[0].jobs.claim(2, 60)
    await nodes[0].jobs.put_off(soon.claim, "the server is down", 1)
    await nodes[0].jobs.put_off(later.claim, "the server is down", 3600)
    assert await is_empty(nodes[1])
    again = await claim_when_due(nodes[1])
    assert (again.job, again.attempt) == (soon.job, 2)
    assert await is_empty(nodes[0])


async def test_a_job_postponed_by_zero_seconds_is_due_immediately(storage: Node) -> None:
    await storage.jobs.add(new_job())
    held = await claim_one(storage)
    await storage.jobs.put_off(held.claim, "try again", 0)
    assert (await claim_one(storage)).attempt == 2


async def test_an_abandoned_job_is_never_due(nodes: list[Node]) -> None:
    await nodes[0].jobs.add(new_job())
    held = await claim_one(nodes[0], lease=0)
    await nodes[0].jobs.put_off(held.claim, "no such address", None)
    assert await is_empty(nodes[1])
    await nodes[1].jobs.put_off(held.claim, "or is there?", 0)
    assert await is_empty(nodes[1])


@pytest.mark.parametrize("wrong", [-1, 1, 0x7FFFFFFF])
async def test_only_the_holder_of_a_claim_can_finish_or_postpone_the_job(nodes: list[Node], wrong: int) -> None:
    await nodes[0].jobs.add(new_job())
    await claim_one(nodes[0], lease=0)
    held = await claim_one(nodes[1], lease=1)
    stale = Claim(held.job.id, wrong)
    await nodes[0].jobs.finish(stale)
    await nodes[0].jobs.put_off(stale, "too late", None)
    await nodes[0].jobs.put_off(stale, "too late", 3600)
    assert (await claim_when_due(nodes[0])).attempt == 3


async def test_a_claim_stays_valid_after_its_lease_until_the_next_claim(storage: Node) -> None:
    await storage.jobs.add(new_job())
    held = await claim_one(storage, lease=0)
    await storage.jobs.finish(held.claim)
    assert await is_empty(storage)


async def test_a_job_is_either_finished_or_claimed_again(nodes: list[Node]) -> None:
    for _ in range(8):
        await nodes[0].jobs.add(new_job())
        held = await claim_one(nodes[0], lease=0)
        _, taken = await race(nodes[0].jobs.finish(held.claim), nodes[1].jobs.claim(1, 60))
        for again in taken:
            assert again.attempt == 2
            await nodes[1].jobs.finish(again.claim)
        assert await is_empty(nodes[0])


# --- a clock that was ahead -------------------------------------------------------------------------


async def test_a_job_of_a_clock_that_was_ahead_is_made_due(nodes: list[Node]) -> None:
    for kind in ("delayed", "leased", "given up", "of the future"):
        await nodes[0].jobs.add(new_job(kind))
        (held,) = await nodes[0].jobs.claim(1, 120)
        delay = {"delayed": 600, "of the future": 365 * 86400}.get(kind)
        if kind != "leased":
            await nodes[0].jobs.put_off(held.claim, "no luck", delay)
    await race(*[node.jobs.pull_forward(3600) for node in nodes_in_turn(nodes)])
    (due,) = await nodes[1].jobs.claim(10, 60)
    assert due.job.kind == "of the future"


# --- cleanup -------------------------------------------------------------------------------------


async def test_only_old_abandoned_jobs_are_deleted(nodes: list[Node]) -> None:
    old, waiting, held, young = (new_job(kind) for kind in ("old", "waiting", "held", "young"))
    young_one = msgspec.structs.replace(young, created_at=clock.now())
    await nodes[0].jobs.add(old, young_one)
    for claimed in await nodes[0].jobs.claim(2, 60):
        await nodes[0].jobs.put_off(claimed.claim, "no use", None)
    await nodes[0].jobs.add(held)
    holding = await claim_one(nodes[0], lease=0)
    await nodes[0].jobs.add(waiting)
    outcomes = await race(*[node.jobs.forget_given_up("2026-01-01T00:00:00.000Z") for node in nodes_in_turn(nodes)])
    assert tally(outcomes) == {"won": 16}
    assert {claimed.job.kind for claimed in await nodes[1].jobs.claim(10, 60)} == {"waiting", "held"}
    assert holding.attempt == 1
    await nodes[0].jobs.forget_given_up(LONG_AGO)
    # `young` must still be stored, because its id is taken.
    with pytest.raises(Refused):
        await nodes[0].jobs.add(young_one)
    await nodes[0].jobs.add(old)
    await nodes[0].jobs.forget_given_up(FAR_FUTURE)
    await nodes[0].jobs.add(young_one)
