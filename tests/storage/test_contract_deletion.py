"""A deleted account leaves only its id in the audit log and in ended sessions."""

from collections.abc import AsyncGenerator

import msgspec
import pytest
import pytest_asyncio

from kingpost.model import User
from kingpost.problems import NotFound, Unauthenticated, VersionMismatch
from kingpost.storage.database import Database, ForeignKeyViolation
from kingpost.storage.opening import open_database
from tests.nodes import Node
from tests.storage.samples import (
    LONG_AGO,
    WRITERS,
    add_admin,
    add_resource,
    add_session,
    add_user,
    create_resource,
    effects_of,
    entries_of,
    new_entry,
    new_job,
    new_resource,
    new_session,
    nodes_in_turn,
    race,
    tally,
)
from tests.storage.traces import REMAINS, TABLES_OF_ACCOUNTS, leave_traces, places_of, unclassified_columns

MARKER = "Mrs. Lovelace"
EMAIL = "Ada.King@Example.com"


@pytest_asyncio.fixture(loop_scope="session")
async def database(migrated_url: str, nodes: list[Node]) -> AsyncGenerator[Database]:
    """Direct access to the database, without the application."""
    database = await open_database(migrated_url)
    yield database
    await database.close()


async def add_ada(storage: Node) -> User:
    await add_admin(storage)
    return await add_user(storage, email=EMAIL, name=MARKER, metadata={"note": [MARKER]})


def test_every_column_that_can_hold_an_account_is_classified() -> None:
    assert unclassified_columns() == []


async def test_no_table_keeps_personal_data(nodes: list[Node], database: Database) -> None:
    ada = await add_ada(nodes[0])
    await leave_traces(database, ada.id, MARKER)
    tables_found = {place.partition(".")[0] for place in await places_of(database, ada.id)}
    assert tables_found == {"users", *(table.name for table in TABLES_OF_ACCOUNTS)}
    assert len(await places_of(database, MARKER)) > len(TABLES_OF_ACCOUNTS)

    ended = await nodes[1].users.delete(ada.id, None, effects_of((new_entry("user.deleted", target_id=ada.id),)))
    assert len(ended) == 1
    assert await places_of(database, ada.id) == REMAINS
    # Hashes and sealed values mean nothing without the account; those of sessions are needed for a while.
    assert await places_of(database, MARKER) <= {"sessions.token_hash", "sessions.parent_hash"}
    for text in (EMAIL, EMAIL.lower(), f"hash of {EMAIL}"):
        assert await places_of(database, text) == set()


async def test_the_rows_of_other_accounts_do_not_change(nodes: list[Node], database: Database) -> None:
    ada, bob = await add_ada(nodes[0]), await add_user(nodes[0], email="bob@example.com", name="Bob")
    await leave_traces(database, bob.id, "Bob's")
    before = {needle: await places_of(database, needle) for needle in (bob.id, "Bob's", "bob@example.com")}
    await leave_traces(database, ada.id, MARKER)
    await nodes[0].users.delete(ada.id, None)
    assert {needle: await places_of(database, needle) for needle in before} == before
    assert await nodes[1].users.find(bob.id) == bob


async def test_addresses_in_entries_by_or_about_the_account_are_erased(nodes: list[Node]) -> None:
    ada, other = await add_ada(nodes[0]), await add_user(nodes[0])
    by, about, other_entry = (
        new_entry(actor_id=ada.id, target_id=other.id),
        new_entry(actor_id=other.id, target_id=ada.id),
        new_entry(actor_id=other.id, target_id=other.id),
    )
    await nodes[0].audit.add(by, about, other_entry)
    await nodes[0].users.delete(
        ada.id, None, effects_of((new_entry("user.deleted", actor_id=ada.id, target_id=ada.id),))
    )

    addresses = [(entry.action, entry.address) for entry in await entries_of(nodes[1])]
    assert addresses == [("user.changed", None)] * 2 + [("user.changed", other_entry.address), ("user.deleted", None)]


async def test_the_sweep_erases_the_address_of_an_entry_stored_during_the_deletion(nodes: list[Node]) -> None:
    ada, other = await add_ada(nodes[0]), await add_user(nodes[0])
    await nodes[0].users.delete(ada.id, None)
    old = new_entry("session.refused", target_id=ada.id)
    late = [new_entry("session.refused", target_id=ada.id), new_entry(actor_id=ada.id, target_id=other.id)]
    kept = [
        new_entry("session.refused", target_id=other.id),
        new_entry("session.refused"),
        msgspec.structs.replace(new_entry(actor_id=other.id, target_id=ada.id), target_type="signing_key"),
    ]
    await nodes[0].audit.add(old, *late, *kept)
    outcomes = await race(
        *[node.audit.forget_addresses_of_deleted(late[0].created_at) for node in nodes_in_turn(nodes)]
    )
    assert tally(outcomes) == {"won": WRITERS}
    without = {entry.id for entry in await entries_of(nodes[1]) if entry.address is None}
    assert without == {entry.id for entry in late}


async def test_a_failed_deletion_erases_nothing(nodes: list[Node], database: Database) -> None:
    ada = await add_ada(nodes[0])
    await leave_traces(database, ada.id, MARKER)
    before = await places_of(database, ada.id), await places_of(database, MARKER)
    with pytest.raises(VersionMismatch):
        await nodes[0].users.delete(ada.id, [7], effects_of((new_entry("user.deleted"),)))
    assert (await places_of(database, ada.id), await places_of(database, MARKER)) == before


async def test_jobs_about_the_account_are_deleted_even_if_claimed(nodes: list[Node]) -> None:
    ada = await add_ada(nodes[0])
    await nodes[0].jobs.add(new_job("held", ada.id), new_job("unclaimed", ada.id), new_job("without account"))
    (held,) = await nodes[0].jobs.claim(1, 60)
    notice = new_job("notice")
    await nodes[0].users.delete(ada.id, None, effects_of(jobs=(notice, new_job("useless", ada.id))))
    assert {claimed.job.kind for claimed in await nodes[1].jobs.claim(10, 60)} == {"without account", "notice"}
    await nodes[1].jobs.put_off(held.claim, "too late", 0)
    assert list(await nodes[1].jobs.claim(10, 60)) == []


# --- concurrency ---------------------------------------------------------------------------------


async def test_a_concurrent_creation_is_deleted_too_or_refused(nodes: list[Node], database: Database) -> None:
    for _ in range(4):
        ada = await add_ada(nodes[0])
        await leave_traces(database, ada.id, MARKER)
        writers = nodes_in_turn(nodes, WRITERS)
        creations = [create_resource(node, new_resource(ada.id, {"note": MARKER})) for node in writers]
        sign_ins = [node.sessions.create(new_session(ada.id), b"%d" % n) for n, node in enumerate(writers)]
        before, after = [*creations[:8], *sign_ins[:8]], [*creations[8:], *sign_ins[8:]]
        outcomes = await race(*before, nodes[1].users.delete(ada.id, None), *after)
        assert tally(outcomes).keys() <= {"won", "Unauthenticated"}
        assert not isinstance(outcomes[len(before)], BaseException)
        assert await places_of(database, ada.id) == REMAINS
        assert await places_of(database, MARKER) <= {"sessions.token_hash", "sessions.parent_hash"}
        assert list(await nodes[0].sessions.list(ada.id, LONG_AGO, LONG_AGO)) == []


async def test_the_database_refuses_rows_that_refer_to_a_deleted_account(nodes: list[Node], database: Database) -> None:
    ada = await add_ada(nodes[0])
    await nodes[0].users.delete(ada.id, None)
    for table in TABLES_OF_ACCOUNTS:
        if table.foreign_keys:
            with pytest.raises(ForeignKeyViolation):
                await leave_traces(database, ada.id, MARKER, [table])
    assert await places_of(database, ada.id) == set()
    with pytest.raises(Unauthenticated):
        await create_resource(nodes[1], new_resource(ada.id))
    with pytest.raises(Unauthenticated):
        await nodes[1].sessions.create(new_session(ada.id), b"hash")


async def test_exactly_one_of_many_concurrent_deletions_succeeds(nodes: list[Node]) -> None:
    ada = await add_ada(nodes[0])
    await add_resource(nodes[0], ada.id)
    await add_session(nodes[0], ada.id)
    entries = [new_entry("user.deleted", target_id=ada.id) for _ in range(WRITERS)]
    deletions = [
        node.users.delete(ada.id, None, effects_of((entry,)))
        for node, entry in zip(nodes_in_turn(nodes), entries, strict=True)
    ]
    assert tally(await race(*deletions)) == {"won": 1, "NotFound": WRITERS - 1}
    assert len(await entries_of(nodes[1])) == 1


async def test_concurrent_deletions_of_many_accounts_do_not_deadlock(nodes: list[Node]) -> None:
    await add_admin(nodes[0])
    people = [await add_user(nodes[0]) for _ in range(WRITERS)]
    # Each has done something to the next, so that their entries cross.
    pairs = zip(people, people[1:] + people[:1], strict=True)
    crossing = [new_entry(actor_id=one.id, target_id=other.id) for one, other in pairs]
    await nodes[0].audit.add(*crossing)
    outcomes = await race(
        *[node.users.delete(user.id, None) for node, user in zip(nodes_in_turn(nodes), people, strict=True)]
    )
    assert tally(outcomes) == {"won": WRITERS}
    assert {entry.address for entry in await entries_of(nodes[1])} == {None}


# --- the hash of a password ----------------------------------------------------------------------


async def test_a_hash_is_upgraded_without_a_new_version(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    await nodes[0].credentials.upgrade_password_hash(user.id, f"hash of {user.email}", "a more expensive hash")
    assert await nodes[1].credentials.find_password_hash(user.id) == "a more expensive hash"
    assert await nodes[1].users.find(user.id) == user


async def test_an_outdated_hash_is_not_upgraded(nodes: list[Node]) -> None:
    user, other = await add_user(nodes[0]), await add_user(nodes[0])
    await nodes[0].credentials.upgrade_password_hash(user.id, "another", "a more expensive hash")
    await nodes[0].credentials.upgrade_password_hash(user.id, f"hash of {other.email}", "a more expensive hash")
    await nodes[0].credentials.upgrade_password_hash(
        "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a", f"hash of {user.email}", "x"
    )
    assert await nodes[1].credentials.find_password_hash(user.id) == f"hash of {user.email}"
    assert await nodes[1].credentials.find_password_hash(other.id) == f"hash of {other.email}"


async def test_an_upgrade_never_overwrites_a_new_password(nodes: list[Node]) -> None:
    for _ in range(8):
        user = await add_user(nodes[0])
        old = f"hash of {user.email}"
        upgrades = [
            node.credentials.upgrade_password_hash(user.id, old, "a more expensive hash")
            for node in nodes_in_turn(nodes, 6)
        ]
        at = "2026-11-22T10:00:00.000Z"
        change = nodes[1].credentials.change_password(user.id, "hash of a new password", at, user.id)
        assert tally(await race(*upgrades[:3], change, *upgrades[3:])) == {"won": 7}
        assert await nodes[0].credentials.find_password_hash(user.id) == "hash of a new password"


async def test_a_session_starts_only_with_the_current_hash_after_an_upgrade(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    await nodes[0].credentials.upgrade_password_hash(user.id, f"hash of {user.email}", "a more expensive hash")
    await nodes[1].sessions.create(new_session(user.id), b"hash", "a more expensive hash")
    with pytest.raises(Unauthenticated):
        await nodes[1].sessions.create(new_session(user.id), b"hash", f"hash of {user.email}")


async def test_a_missing_account_cannot_be_deleted(storage: Node) -> None:
    with pytest.raises(NotFound):
        await storage.users.delete("019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a", None, effects_of((new_entry(),)))
    assert await entries_of(storage) == []
