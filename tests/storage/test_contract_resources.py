"""The contract of `ResourceStore`, sentence by sentence, on every database and from two nodes at once."""

import asyncio
import itertools
import json
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from kingpost.model import Resource, SortKey
from kingpost.problems import NotFound, Problem, Unauthenticated, VersionMismatch
from kingpost.resources.store import (
    CreateResource,
    DeleteResource,
    Refused,
    ReplaceResource,
    ResourceListing,
    ResourceWrite,
)
from tests.nodes import Node, open_node
from tests.storage.samples import (
    WRITERS,
    add_resource,
    add_user,
    create_resource,
    delete_resource,
    entries_of,
    new_entry,
    new_job,
    new_resource,
    nodes_in_turn,
    plain,
    race,
    raw,
    replace_resource,
    tally,
)

AT = "2026-11-22T10:15:30.123Z"
UNKNOWN_ID = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"
BY_ID = (SortKey("id"),)


async def add_owner(storage: Node) -> str:
    return (await add_user(storage)).id


async def listed(storage: Node, listing: ResourceListing) -> list[str]:
    return [resource.id for resource in (await storage.resources.list(listing)).items]


# --- create and find -----------------------------------------------------------------------------


async def test_a_resource_is_found_as_it_was_stored(nodes: list[Node]) -> None:
    resource = await add_resource(
        nodes[0], await add_owner(nodes[0]), {"title": "Amélie", "year": 2001}, type="Mo-vie.1"
    )
    for node in nodes:
        assert plain(await node.resources.find(resource.id)) == plain(resource)


async def test_an_unknown_resource_is_none(storage: Node) -> None:
    assert await storage.resources.find(UNKNOWN_ID) is None


async def test_concurrent_creations_and_lookups_return_their_own_resource(nodes: list[Node]) -> None:
    owner = await add_owner(nodes[0])
    resources = [new_resource(owner, {"number": number}) for number in range(20 * WRITERS)]
    created = await race(
        *[
            create_resource(node, resource)
            for node, resource in zip(nodes_in_turn(nodes, len(resources)), resources, strict=True)
        ]
    )
    assert tally(created) == {"won": len(resources)}
    ids = [resource.id for resource in resources]
    found = await race(*[nodes[1].resources.find(resource_id) for resource_id in [*ids, UNKNOWN_ID, *ids]])
    expected = [plain(resource) for resource in resources]
    assert [plain(resource) for resource in found] == [*expected, None, *expected]


async def test_a_creation_for_a_deleted_owner_fails_without_affecting_others(nodes: list[Node]) -> None:
    owner = await add_owner(nodes[0])
    gone = await add_owner(nodes[0])
    await nodes[0].users.delete(gone, None)
    resources = [new_resource(gone if number % 5 == 3 else owner) for number in range(4 * WRITERS)]
    outcomes = await race(*[create_resource(nodes[1], resource) for resource in resources])
    for resource, outcome in zip(resources, outcomes, strict=True):
        if resource.owner_id == gone:
            assert isinstance(outcome, Unauthenticated)
            assert await nodes[0].resources.find(resource.id) is None
        else:
            assert outcome is None
            assert await nodes[0].resources.find(resource.id) is not None


# --- documents -----------------------------------------------------------------------------------


def nested(depth: int) -> Any:
    return {"deeper": nested(depth - 1)} if depth else []


DOCUMENTS: dict[str, Any] = {
    "nothing": {},
    "empty containers": {"object": {}, "array": [], "text": "", "": None, "deep": [[], [{}], {"": {}}]},
    "unicode": {
        "ключ": "значение",
        "emoji": "🦊👩‍👩‍👧‍👦\U0010ffff",
        "not normalised": "e\u0301 é",
        "controls": "\x01\x1f\x7f\x80\u2028\u2029\ufeff\uffff",
        "right to left": "\u202eשלום",
    },
    "quotes and backslashes": {'"': "\\", "'": "\\\\u0000", "$1": "?", "%s": ":id", "é\\": "\n\r\t\b\f/"},
    "looks like numbers": {"a": "1e300", "b": 'x"1e300"', "1e300": "\\1e5", "c": '\\"1e99'},
    "numbers": {
        "integers": [0, -1, 2**53, -(2**53), 2**53 - 1, 10**15],
        "floats": [1e300, -1e300, 5e-324, -5e-324, sys.float_info.max, sys.float_info.min, 0.1, 1 / 3, 1e22, 1e23],
        "near integers": [0.0, 2.0, float(2**53), float(2**53 + 2), 1e15, 1e16, 1e17, 123456789012345680000.0],
        "tiny": [1e-7, 1.5e-10, 2.2250738585072011e-308],
    },
    "truths": {"values": [True, False, None, [True], [None]]},
    "many keys": {f"key {number}": number for number in range(10_000)},
    "deep": nested(31),
    "one megabyte": {"text": "ä🦊" * 170_000},
    "a long array": {"numbers": list(range(50_000))},
}


def exactly(value: Any) -> str:
    """JSON text that distinguishes 2 from 2.0 and True from 1, but ignores the order of keys."""
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_a_document_is_read_as_it_was_stored(nodes: list[Node], name: str) -> None:
    document = DOCUMENTS[name]
    owner = await add_owner(nodes[0])
    created = await add_resource(nodes[0], owner, document)
    replaced = await add_resource(nodes[0], owner, {"before": 1})
    answer = await replace_resource(nodes[0], replaced.id, raw(document), AT, None)
    page = await nodes[1].resources.list(ResourceListing(BY_ID, 10))
    stored = [
        await nodes[1].resources.find(created.id),
        await nodes[1].resources.find(replaced.id),
        answer,
        *page.items,
    ]
    for resource in stored:
        assert resource is not None
        assert exactly(json.loads(bytes(resource.data))) == exactly(document)
        assert plain(resource)["data"] == document


async def test_many_concurrent_documents_are_read_as_they_were_stored(storage: Node) -> None:
    owner = await add_owner(storage)
    resources = [new_resource(owner, document) for document in DOCUMENTS.values()]
    await asyncio.gather(*[create_resource(storage, resource) for resource in resources])
    found = await asyncio.gather(*[storage.resources.find(resource.id) for resource in resources])
    for document, resource in zip(DOCUMENTS.values(), found, strict=True):
        assert resource is not None
        assert exactly(json.loads(bytes(resource.data))) == exactly(document)


async def test_a_negative_zero_stays_a_zero_float(storage: Node) -> None:
    # jsonb knows no negative zero, and JSON gives its sign no meaning.
    resource = await add_resource(storage, await add_owner(storage), {"zero": -0.0})
    found = await storage.resources.find(resource.id)
    assert found is not None
    zero = json.loads(bytes(found.data))["zero"]
    assert zero == 0
    assert isinstance(zero, float)


async def test_the_metadata_of_a_user_is_read_as_it_was_stored(storage: Node) -> None:
    for document in (DOCUMENTS["unicode"], DOCUMENTS["numbers"], DOCUMENTS["empty containers"]):
        user = await add_user(storage, metadata=document)
        found = await storage.users.find(user.id)
        assert found is not None
        assert exactly(json.loads(bytes(found.metadata))) == exactly(document)


# --- replace -------------------------------------------------------------------------------------


async def test_a_replacement_changes_only_data_version_and_time(nodes: list[Node]) -> None:
    resource = await add_resource(nodes[0], await add_owner(nodes[0]), type="movie")
    replaced = await replace_resource(nodes[0], resource.id, raw({"new": True}), AT, (1,))
    assert plain(replaced) == plain(resource) | {"data": {"new": True}, "version": 2, "updated_at": AT}
    for node in nodes:
        assert plain(await node.resources.find(resource.id)) == plain(replaced)


async def test_replacing_an_unknown_resource_is_not_found(storage: Node) -> None:
    for versions in (None, (1,), ()):
        with pytest.raises(NotFound):
            await replace_resource(storage, UNKNOWN_ID, raw({}), AT, versions)
        with pytest.raises(NotFound):
            await delete_resource(storage, UNKNOWN_ID, versions)


async def test_another_version_is_a_mismatch_that_names_the_current_version(storage: Node) -> None:
    resource = await add_resource(storage, await add_owner(storage))
    for versions in ((), (2,), (0, 2, 3)):
        with pytest.raises(VersionMismatch) as caught:
            await replace_resource(storage, resource.id, raw({}), AT, versions)
        assert plain(caught.value.current) == plain(resource)
        with pytest.raises(VersionMismatch) as caught:
            await delete_resource(storage, resource.id, versions)
        assert plain(caught.value.current) == plain(resource)
    assert plain(await storage.resources.find(resource.id)) == plain(resource)
    assert (await replace_resource(storage, resource.id, raw({}), AT, (9, 1, 8))).version == 2
    await delete_resource(storage, resource.id, (1, 2, 3))


async def test_exactly_one_of_many_replacements_of_one_version_succeeds(nodes: list[Node]) -> None:
    resource = await add_resource(nodes[0], await add_owner(nodes[0]))
    for version in range(1, 6):
        outcomes = await race(
            *[
                replace_resource(node, resource.id, raw({"writer": number}), AT, (version,))
                for number, node in enumerate(nodes_in_turn(nodes))
            ]
        )
        assert tally(outcomes) == {"won": 1, "VersionMismatch": WRITERS - 1}
        winner = next(outcome for outcome in outcomes if isinstance(outcome, Resource))
        assert winner.version == version + 1
        assert plain(await nodes[0].resources.find(resource.id)) == plain(winner)
        assert plain(await nodes[1].resources.find(resource.id)) == plain(winner)
        assert {o.current.version for o in outcomes if isinstance(o, VersionMismatch)} == {version + 1}


async def test_all_unconditional_replacements_take_effect(nodes: list[Node]) -> None:
    resource = await add_resource(nodes[0], await add_owner(nodes[0]))
    outcomes = await race(
        *[
            replace_resource(node, resource.id, raw({"writer": number}), AT, None)
            for number, node in enumerate(nodes_in_turn(nodes))
        ]
    )
    assert sorted(outcome.version for outcome in outcomes) == list(range(2, WRITERS + 2))
    last = max(outcomes, key=lambda outcome: int(outcome.version))
    assert plain(await nodes[1].resources.find(resource.id)) == plain(last)


# --- delete --------------------------------------------------------------------------------------


async def test_a_deletion_is_seen_by_every_node(nodes: list[Node]) -> None:
    resource = await add_resource(nodes[0], await add_owner(nodes[0]))
    await delete_resource(nodes[0], resource.id, (1,))
    for node in nodes:
        assert await node.resources.find(resource.id) is None
        with pytest.raises(NotFound):
            await delete_resource(node, resource.id, None)


async def test_exactly_one_of_many_concurrent_deletions_succeeds(nodes: list[Node]) -> None:
    for versions in (None, (1,)):
        resource = await add_resource(nodes[0], await add_owner(nodes[0]))
        outcomes = await race(*[delete_resource(node, resource.id, versions) for node in nodes_in_turn(nodes)])
        assert tally(outcomes) == {"won": 1, "NotFound": WRITERS - 1}


async def test_exactly_one_of_many_deletions_and_replacements_of_one_version_succeeds(nodes: list[Node]) -> None:
    for _ in range(8):
        resource = await add_resource(nodes[0], await add_owner(nodes[0]))
        writers: list[Any] = []
        for node in nodes_in_turn(nodes, WRITERS // 2):
            writers.append(replace_resource(node, resource.id, raw({"kept": True}), AT, (1,)))
            writers.append(delete_resource(node, resource.id, (1,)))
        outcomes = await race(*writers)
        was_deleted = await nodes[0].resources.find(resource.id) is None
        assert tally(outcomes) == {"won": 1, "NotFound" if was_deleted else "VersionMismatch": WRITERS - 1}


# --- several at once -----------------------------------------------------------------------------


async def test_a_batch_runs_all_of_its_writes_in_order(nodes: list[Node]) -> None:
    owner = await add_owner(nodes[0])
    kept, gone = await add_resource(nodes[0], owner), await add_resource(nodes[0], owner)
    new, other = new_resource(owner), new_resource(owner)
    entry, job = new_entry(), new_job()
    writes: list[ResourceWrite] = [
        ReplaceResource(kept.id, raw({"n": 1}), AT, (1,)),
        CreateResource(new),
        DeleteResource(gone.id, (1, 2)),
        ReplaceResource(new.id, raw({"n": 2}), AT, (1,)),
        CreateResource(other),
        ReplaceResource(kept.id, raw({"n": 3}), AT),
    ]
    outcomes = await nodes[0].resources.commit(writes, [entry, job])
    assert [outcome and (outcome.id, outcome.version) for outcome in outcomes] == [
        (kept.id, 2),
        (new.id, 1),
        None,
        (new.id, 2),
        (other.id, 1),
        (kept.id, 3),
    ]
    assert set(await listed(nodes[1], ResourceListing(BY_ID, 10))) == {kept.id, new.id, other.id}
    for resource_id, data, version in ((kept.id, {"n": 3}, 3), (new.id, {"n": 2}, 2)):
        found = await nodes[1].resources.find(resource_id)
        assert found is not None
        assert (plain(found.data), found.version, found.updated_at) == (data, version, AT)
    assert [stored.id for stored in await entries_of(nodes[1])] == [entry.id]
    assert [claimed.job for claimed in await nodes[1].jobs.claim(10, 60)] == [job]


async def test_a_batch_with_a_refused_write_changes_nothing(nodes: list[Node]) -> None:
    owner, gone = await add_owner(nodes[0]), await add_owner(nodes[0])
    await nodes[0].users.delete(gone, None)
    resources = [await add_resource(nodes[0], owner) for _ in range(5)]
    good: list[ResourceWrite] = [ReplaceResource(resource.id, raw({"n": 1}), AT, (1,)) for resource in resources[1:]]
    refused: list[tuple[ResourceWrite, type[Problem]]] = [
        (ReplaceResource(resources[0].id, raw({}), AT, (2,)), VersionMismatch),
        (DeleteResource(resources[0].id, (3, 2)), VersionMismatch),
        (DeleteResource(UNKNOWN_ID), NotFound),
        (ReplaceResource(UNKNOWN_ID, raw({}), AT, (1,)), NotFound),
        (CreateResource(new_resource(gone)), Unauthenticated),
    ]
    for write, problem in refused:
        for index in (0, 2, 4):
            with pytest.raises(Refused) as caught:
                await nodes[0].resources.commit([*good[:index], write, *good[index:]], [new_entry(), new_job()])
            assert (caught.value.index, type(caught.value.problem)) == (index, problem)
            if isinstance(caught.value.problem, VersionMismatch):
                assert plain(caught.value.problem.current) == plain(resources[0])
        with pytest.raises(problem):
            await nodes[0].resources.commit([write], [new_entry(), new_job()])
    assert [plain(await nodes[1].resources.find(resource.id)) for resource in resources] == [*map(plain, resources)]
    assert await entries_of(nodes[1]) == []
    assert list(await nodes[1].jobs.claim(10, 60)) == []


async def test_a_dry_run_returns_the_result_without_storing_it(nodes: list[Node]) -> None:
    resource = await add_resource(nodes[0], await add_owner(nodes[0]))
    new = new_resource(resource.owner_id)
    replacement = ReplaceResource(resource.id, raw({"n": 1}), AT, (1,))
    writes: list[ResourceWrite] = [replacement, CreateResource(new), DeleteResource(new.id, (1,))]
    replaced, created, _ = await nodes[0].resources.commit(writes, [new_entry()], dry_run=True)
    assert replaced is not None
    assert (plain(replaced.data), replaced.version) == ({"n": 1}, 2)
    assert created == new
    with pytest.raises(VersionMismatch):
        await nodes[0].resources.commit([DeleteResource(resource.id, (2,))], dry_run=True)
    assert await listed(nodes[1], ResourceListing(BY_ID, 10)) == [resource.id]
    assert plain(await nodes[1].resources.find(resource.id)) == plain(resource)
    assert await entries_of(nodes[1]) == []


# --- list ----------------------------------------------------------------------------------------


async def some_resources(storage: Node) -> list[Resource]:
    """Resources of two owners and three types, with versions and times that occur more than once."""
    owners = [await add_owner(storage), await add_owner(storage)]
    types = ["movie", "Movie", "a-note"]
    times = ["2026-01-02T00:00:00.000Z", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.001Z"]
    resources = []
    for number in range(13):
        resource = await add_resource(
            storage, owners[number % 2], {"number": number}, type=types[number % 3], updated_at=times[number // 2 % 3]
        )
        for _ in range(number % 3):
            resource = await replace_resource(storage, resource.id, resource.data, resource.updated_at, None)
        resources.append(resource)
    return resources


def in_order(resources: Sequence[Resource], sort: tuple[SortKey, ...]) -> list[str]:
    ordered = sorted(resources, key=lambda resource: resource.id, reverse=sort[-1].descending)
    for key in reversed(sort):
        ordered.sort(key=lambda resource: getattr(resource, key.field), reverse=key.descending)
    return [resource.id for resource in ordered]


async def list_all_pages(storage: Node, listing: ResourceListing) -> list[str]:
    ids: list[str] = []
    after = None
    while True:
        page = await storage.resources.list(
            ResourceListing(listing.sort, listing.limit, after, type=listing.type, owner_id=listing.owner_id)
        )
        assert len(page.items) == listing.limit or page.next is None
        ids += [resource.id for resource in page.items]
        after = page.next
        if after is None:
            return ids


FIELDS = ("created_at", "updated_at", "id", "type", "owner_id", "version")


@pytest.mark.parametrize("field", FIELDS)
async def test_pagination_sorted_by_any_fields_returns_every_resource_once_in_order(storage: Node, field: str) -> None:
    resources = await some_resources(storage)
    for second, down, also_down in itertools.product(FIELDS, (False, True), (False, True)):
        keys = [SortKey(field, down), SortKey(second, also_down)]
        sort = tuple(keys if second != field else keys[:1])
        for limit in (1, 4, 13):
            walk = await list_all_pages(storage, ResourceListing(sort, limit))
            assert walk == in_order(resources, sort), (sort, limit)


async def test_pagination_sorted_by_all_fields_in_mixed_directions_is_in_order(storage: Node) -> None:
    resources = await some_resources(storage)
    sort = (SortKey("version", True), SortKey("type"), SortKey("updated_at", True), SortKey("owner_id"))
    assert await list_all_pages(storage, ResourceListing(sort, 3)) == in_order(resources, sort)


async def test_a_list_can_be_filtered_by_type_owner_or_both(storage: Node) -> None:
    resources = await some_resources(storage)
    owner, other = resources[0].owner_id, resources[1].owner_id
    sort = (SortKey("updated_at", True), SortKey("id"))
    for type_name, owner_id in itertools.product((None, "movie", "Movie", "nothing"), (None, owner, other, UNKNOWN_ID)):
        matching = [r for r in resources if type_name in (None, r.type) and owner_id in (None, r.owner_id)]
        listing = ResourceListing(sort, 2, type=type_name, owner_id=owner_id)
        assert await list_all_pages(storage, listing) == in_order(matching, sort)
        counted = ResourceListing(sort, 1, count=True, type=type_name, owner_id=owner_id)
        assert (await storage.resources.list(counted)).total == len(matching)


async def test_an_offset_skips_and_a_count_is_exact(storage: Node) -> None:
    resources = await some_resources(storage)
    sort = (SortKey("created_at", True),)
    page = await storage.resources.list(ResourceListing(sort, 3, offset=4, count=True))
    assert [resource.id for resource in page.items] == in_order(resources, sort)[4:7]
    assert page.total == len(resources)
    assert page.next is not None
    beyond = await storage.resources.list(ResourceListing(sort, 3, offset=100))
    assert (beyond.items, beyond.next, beyond.total) == ([], None, None)


async def test_the_last_page_has_no_next_page(storage: Node) -> None:
    owner = await add_owner(storage)
    for _ in range(4):
        await add_resource(storage, owner)
    page = await storage.resources.list(ResourceListing(BY_ID, 2))
    assert page.next is not None
    page = await storage.resources.list(ResourceListing(BY_ID, 2, after=page.next))
    assert (len(page.items), page.next) == (2, None)


@pytest.mark.parametrize(
    "sort",
    [
        (SortKey("created_at", True),),
        (SortKey("created_at"),),
        (SortKey("updated_at", True),),
        (SortKey("type"), SortKey("id", True)),
        (SortKey("version", True), SortKey("created_at")),
    ],
    ids=lambda sort: ",".join(f"{'-' if key.descending else ''}{key.field}" for key in sort),
)
async def test_pagination_during_writes_repeats_and_misses_no_row(nodes: list[Node], sort: tuple[SortKey, ...]) -> None:
    owner = await add_owner(nodes[0])
    resources = [await add_resource(nodes[0], owner, type=f"t{number % 7}") for number in range(120)]
    doomed = [resource.id for resource in resources[::3]]
    steady = {resource.id for resource in resources} - set(doomed)
    finished = asyncio.Event()

    async def disturb() -> None:
        while not finished.is_set():
            await add_resource(nodes[1], owner, type="t3")
            if doomed:
                await delete_resource(nodes[1], doomed.pop(len(doomed) // 2), None)

    disturbing = asyncio.create_task(disturb())
    walk = await list_all_pages(nodes[0], ResourceListing(sort, 7))
    finished.set()
    await disturbing
    assert len(set(walk)) == len(walk)
    assert steady <= set(walk)


async def test_pagination_continues_after_a_deleted_row(storage: Node) -> None:
    owner = await add_owner(storage)
    resources = [await add_resource(storage, owner) for _ in range(6)]
    page = await storage.resources.list(ResourceListing(BY_ID, 3))
    await delete_resource(storage, page.items[-1].id, None)
    assert await listed(storage, ResourceListing(BY_ID, 3, page.next)) == [resource.id for resource in resources[3:]]


# --- the database as a whole ---------------------------------------------------------------------


async def test_a_ping_returns_while_the_database_answers(nodes: list[Node]) -> None:
    await asyncio.gather(*[node.ping() for node in nodes])


async def test_closing_the_database_stores_the_pending_writes(migrated_url: str, storage: Node) -> None:
    owner, node = await add_owner(storage), await open_node(migrated_url)
    resources = [new_resource(owner) for _ in range(4 * WRITERS)]
    writes = [asyncio.ensure_future(create_resource(node, resource)) for resource in resources]
    await asyncio.sleep(0)
    await node.close()
    outcomes = await race(*writes)
    for resource, outcome in zip(resources, outcomes, strict=True):
        assert (outcome is None) == (await storage.resources.find(resource.id) is not None)
    assert tally(outcomes) == {"won": len(resources)}
