"""The contract of `Users`, sentence by sentence, on every database and from two nodes at once."""

import itertools

import pytest

from kingpost.accounts.users.store import UserChange
from kingpost.model import ADMIN, SortKey, Status, User
from kingpost.problems import Conflict, Forbidden, NotFound, Unauthenticated, VersionMismatch
from kingpost.storage.listing import Listing
from tests.nodes import Node
from tests.storage.samples import (
    LONG_AGO,
    WRITERS,
    add_admin,
    add_resource,
    add_session,
    add_user,
    create_resource,
    new_resource,
    new_session,
    nodes_in_turn,
    plain,
    race,
    raw,
    tally,
)

AT = "2026-11-22T10:15:30.123Z"
UNKNOWN_ID = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"
SUSPEND = UserChange(status="suspended")
DEMOTE = UserChange(roles=("user",))


async def found(storage: Node, user_id: str) -> User:
    user = await storage.users.find(user_id)
    assert user is not None
    return user


# --- create and find -----------------------------------------------------------------------------


async def test_an_account_is_found_as_it_was_stored(nodes: list[Node]) -> None:
    user = await add_user(
        nodes[0],
        email="Zoë@Exämple.com",
        name="Zoë \U0001f98a 'quoted' \"twice\" \\",
        metadata={"ß": [1, 2.5, None, True, {"": []}]},
        roles=("user", "reviewer"),
        status="suspended",
    )
    for node in nodes:
        assert plain(await node.users.find(user.id)) == plain(user)
        assert await node.credentials.find_password_hash(user.id) == "hash of Zoë@Exämple.com"
        credentials = await node.credentials.find_credentials("zoë@exämple.com")
        assert credentials is not None
        assert plain(credentials.user) == plain(user)
        assert credentials.password_hash == "hash of Zoë@Exämple.com"


async def test_an_unknown_account_is_none(storage: Node) -> None:
    assert await storage.users.find(UNKNOWN_ID) is None
    assert await storage.credentials.find_credentials("nobody@example.com") is None
    assert await storage.credentials.find_password_hash(UNKNOWN_ID) is None


async def test_a_taken_email_key_is_a_conflict_and_stores_nothing(storage: Node) -> None:
    first = await add_user(storage, email="Ada@example.com")
    with pytest.raises(Conflict):
        await add_user(storage, email="ada@example.com")
    page = await storage.users.list(Listing((SortKey("id"),), 10, count=True))
    assert ([user.id for user in page.items], page.total) == ([first.id], 1)


async def test_exactly_one_of_many_sign_ups_with_one_email_key_succeeds(nodes: list[Node]) -> None:
    outcomes = await race(*[add_user(node, email="ada@example.com") for node in nodes_in_turn(nodes)])
    assert tally(outcomes) == {"won": 1, "Conflict": WRITERS - 1}
    winner = next(outcome for outcome in outcomes if isinstance(outcome, User))
    credentials = await nodes[1].credentials.find_credentials("ada@example.com")
    assert credentials is not None
    assert credentials.user.id == winner.id


async def test_all_sign_ups_with_different_email_keys_succeed(nodes: list[Node]) -> None:
    outcomes = await race(*[add_user(node) for node in nodes_in_turn(nodes, 3 * WRITERS)])
    assert tally(outcomes) == {"won": 3 * WRITERS}


# --- list ----------------------------------------------------------------------------------------


async def some_users(storage: Node) -> list[User]:
    times = ["2026-01-02T00:00:00.000Z", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.001Z"]
    names = ["b", "A", "Z", "é", "a1", "a-1", "a_1"]
    return [
        await add_user(storage, email=f"{name}@example.com", updated_at=times[index % len(times)])
        for index, name in enumerate(names)
    ]


def in_order(users: list[User], sort: tuple[SortKey, ...]) -> list[str]:
    ordered = sorted(users, key=lambda user: user.id, reverse=sort[-1].descending)
    for key in reversed(sort):
        ordered.sort(
            key=lambda user: user.email.lower() if key.field == "email" else str(getattr(user, key.field)),
            reverse=key.descending,
        )
    return [user.id for user in ordered]


async def list_all_pages(storage: Node, sort: tuple[SortKey, ...], limit: int) -> list[str]:
    ids: list[str] = []
    page = await storage.users.list(Listing(sort, limit))
    while True:
        assert len(page.items) == limit or page.next is None
        ids += [user.id for user in page.items]
        if page.next is None:
            return ids
        page = await storage.users.list(Listing(sort, limit, after=page.next))


FIELDS = ("created_at", "updated_at", "email", "id")


async def test_pagination_sorted_by_any_fields_returns_every_account_once_in_order(storage: Node) -> None:
    users = await some_users(storage)
    for first, second in itertools.product(FIELDS, FIELDS):
        for down, also_down in itertools.product((False, True), (False, True)):
            keys = [SortKey(first, down), SortKey(second, also_down)]
            sort = tuple(keys if first != second else keys[:1])
            for limit in (1, 3, 7, 10):
                assert await list_all_pages(storage, sort, limit) == in_order(users, sort), (sort, limit)


async def test_an_offset_skips_and_a_count_is_exact(storage: Node) -> None:
    users = await some_users(storage)
    sort = (SortKey("email"),)
    page = await storage.users.list(Listing(sort, 2, offset=3, count=True))
    assert [user.id for user in page.items] == in_order(users, sort)[3:5]
    assert page.total == len(users)
    beyond = await storage.users.list(Listing(sort, 2, offset=100, count=True))
    assert (beyond.items, beyond.next, beyond.total) == ([], None, len(users))
    assert (await storage.users.list(Listing(sort, 2))).total is None


# --- change --------------------------------------------------------------------------------------


async def test_a_change_sets_only_the_given_fields(nodes: list[Node]) -> None:
    user = await add_user(nodes[0], email="ada@example.com", name="Ada", metadata={"a": 1})
    changed, ended = await nodes[0].users.change(user.id, UserChange(name=None), AT, None)
    expected = plain(user) | {"name": None, "version": 2, "updated_at": AT}
    assert plain(changed) == expected
    assert list(ended) == []
    everything = UserChange(
        email="Bob@example.com",
        email_key="bob@example.com",
        name="Bob",
        metadata=raw({"b": [2]}),
        roles=("user", "editor"),
        status="suspended",
    )
    changed, _ = await nodes[1].users.change(user.id, everything, AT, (2,))
    assert plain(changed) == expected | {
        "email": "Bob@example.com",
        "name": "Bob",
        "metadata": {"b": [2]},
        "roles": ["user", "editor"],
        "status": "suspended",
        "version": 3,
    }
    assert plain(await nodes[0].users.find(user.id)) == plain(changed)


async def test_a_change_of_the_address_frees_the_old_one(storage: Node) -> None:
    user = await add_user(storage, email="ada@example.com")
    change = UserChange(email="bob@example.com", email_key="bob@example.com")
    await storage.users.change(user.id, change, AT, None)
    assert await storage.credentials.find_credentials("ada@example.com") is None
    credentials = await storage.credentials.find_credentials("bob@example.com")
    assert credentials is not None
    assert (credentials.user.id, credentials.password_hash) == (user.id, "hash of ada@example.com")
    await add_user(storage, email="ada@example.com")


async def test_a_change_of_an_unknown_account_is_not_found(storage: Node) -> None:
    for versions in (None, (1,), ()):
        with pytest.raises(NotFound):
            await storage.users.change(UNKNOWN_ID, UserChange(name="x"), AT, versions)


async def test_another_version_is_a_mismatch_that_names_the_current_version(storage: Node) -> None:
    user = await add_user(storage)
    for versions in ((), (2,), (0, 2, 3)):
        with pytest.raises(VersionMismatch) as caught:
            await storage.users.change(user.id, UserChange(name="x"), AT, versions)
        assert plain(caught.value.current) == plain(user)
    assert plain(await storage.users.find(user.id)) == plain(user)
    changed, _ = await storage.users.change(user.id, UserChange(name="x"), AT, (7, 1, 9))
    assert changed.version == 2


async def test_exactly_one_of_many_changes_of_one_version_succeeds(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    outcomes = await race(
        *[
            node.users.change(user.id, UserChange(name=f"writer {number}"), AT, (1,))
            for number, node in enumerate(nodes_in_turn(nodes))
        ]
    )
    assert tally(outcomes) == {"won": 1, "VersionMismatch": WRITERS - 1}
    winner = next(outcome[0] for outcome in outcomes if isinstance(outcome, tuple))
    assert plain(await nodes[1].users.find(user.id)) == plain(winner)
    assert {o.current.version for o in outcomes if isinstance(o, VersionMismatch)} == {2}


async def test_all_unconditional_changes_take_effect(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    outcomes = await race(
        *[node.users.change(user.id, UserChange(name="x"), AT, None) for node in nodes_in_turn(nodes)]
    )
    assert sorted(outcome[0].version for outcome in outcomes) == list(range(2, WRITERS + 2))


async def test_a_change_to_a_taken_address_is_a_conflict_and_changes_nothing(storage: Node) -> None:
    await add_user(storage, email="ada@example.com")
    bob = await add_user(storage, email="bob@example.com")
    session = await add_session(storage, bob.id)
    change = UserChange(email="ada@example.com", email_key="ada@example.com", name="new", status="suspended")
    with pytest.raises(Conflict):
        await storage.users.change(bob.id, change, AT, None)
    assert plain(await storage.users.find(bob.id)) == plain(bob)
    assert await storage.is_alive(session.id, LONG_AGO)


async def test_exactly_one_of_many_changes_to_one_address_succeeds(nodes: list[Node]) -> None:
    users = [await add_user(nodes[0]) for _ in range(WRITERS)]
    change = UserChange(email="one@example.com", email_key="one@example.com")
    outcomes = await race(
        *[node.users.change(user.id, change, AT, None) for user, node in zip(users, nodes_in_turn(nodes), strict=True)]
    )
    assert tally(outcomes) == {"won": 1, "Conflict": WRITERS - 1}


# --- suspension ----------------------------------------------------------------------------------


async def test_a_suspension_ends_all_sessions_of_the_account_and_no_others(nodes: list[Node]) -> None:
    user, other = await add_user(nodes[0]), await add_user(nodes[0])
    mine = [await add_session(nodes[0], user.id) for _ in range(3)]
    theirs = await add_session(nodes[0], other.id)
    already = await add_session(nodes[0], user.id)
    await nodes[0].sessions.end(already.id, None)
    changed, ended = await nodes[0].users.change(user.id, SUSPEND, AT, None)
    assert changed.status == "suspended"
    assert sorted(ended) == sorted(session.id for session in mine)
    assert {session.id for session in mine} <= set(await nodes[1].revocations.ended_within(60))
    assert not any([await nodes[1].is_alive(session.id, LONG_AGO) for session in mine])
    assert await nodes[1].is_alive(theirs.id, LONG_AGO)


async def test_no_session_started_during_a_suspension_stays_active(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    starts = [node.sessions.create(new_session(user.id), b"hash") for node in nodes_in_turn(nodes)]
    half = len(starts) // 2
    outcomes = await race(*starts[:half], nodes[1].users.change(user.id, SUSPEND, AT, None), *starts[half:])
    assert set(tally(outcomes)) <= {"won", "Unauthenticated"}
    assert list(await nodes[0].sessions.list(user.id, LONG_AGO, LONG_AGO)) == []


# --- the last administrator ----------------------------------------------------------------------


async def test_the_last_active_administrator_cannot_be_removed(storage: Node) -> None:
    admin = await add_admin(storage)
    await add_user(storage, roles=("user", ADMIN), status="suspended")
    await add_user(storage, roles=("user", "administrator", "admins"))
    await add_user(storage, roles=("user",), name=ADMIN, metadata={ADMIN: ADMIN})
    session = await add_session(storage, admin.id)
    resource = await add_resource(storage, admin.id)
    for change in (SUSPEND, DEMOTE, UserChange(roles=()), UserChange(roles=("user",), status="active")):
        with pytest.raises(Conflict):
            await storage.users.change(admin.id, change, AT, None)
    with pytest.raises(Conflict):
        await storage.users.delete(admin.id, None)
    assert plain(await storage.users.find(admin.id)) == plain(admin)
    assert await storage.is_alive(session.id, LONG_AGO)
    assert await storage.resources.find(resource.id) is not None
    kept, _ = await storage.users.change(admin.id, UserChange(name="x", roles=(ADMIN,), status="active"), AT, None)
    assert kept.roles == (ADMIN,)


async def test_an_administrator_can_be_removed_if_another_is_active(storage: Node) -> None:
    admins = [await add_admin(storage) for _ in range(4)]
    await storage.users.change(admins[0].id, SUSPEND, AT, None)
    await storage.users.change(admins[1].id, DEMOTE, AT, None)
    await storage.users.delete(admins[2].id, None)
    with pytest.raises(Conflict):
        await storage.users.delete(admins[3].id, None)
    # An administrator who is already suspended was not the last active one.
    await storage.users.delete(admins[0].id, None)


@pytest.mark.parametrize("deed", ["suspend", "demote", "delete", "all three"])
async def test_exactly_one_administrator_remains_when_all_are_removed_concurrently(
    nodes: list[Node], deed: str
) -> None:
    admins = [await add_admin(nodes[0]) for _ in range(WRITERS)]
    ways = ["suspend", "demote", "delete"] if deed == "all three" else [deed]

    async def go(node: Node, user_id: str, way: str) -> None:
        if way == "delete":
            await node.users.delete(user_id, None)
        else:
            await node.users.change(user_id, SUSPEND if way == "suspend" else DEMOTE, AT, None)

    parts = zip(nodes_in_turn(nodes), admins, itertools.cycle(ways), strict=False)
    outcomes = await race(*[go(node, admin.id, way) for node, admin, way in parts])
    assert tally(outcomes) == {"won": WRITERS - 1, "Conflict": 1}
    page = await nodes[1].users.list(Listing((SortKey("id"),), 100))
    assert len([user for user in page.items if ADMIN in user.roles and user.status == "active"]) == 1


async def test_two_administrators_who_demote_each_other_never_both_succeed(nodes: list[Node]) -> None:
    admins = [await add_admin(nodes[0]) for _ in range(2)]
    for _ in range(20):
        outcomes = await race(
            *[node.users.change(admin.id, DEMOTE, AT, None) for node, admin in zip(nodes, admins, strict=True)]
        )
        assert tally(outcomes) == {"won": 1, "Conflict": 1}
        for admin in admins:
            await nodes[0].users.change(admin.id, UserChange(roles=("user", ADMIN)), AT, None)


# --- administrators who no longer are ------------------------------------------------------------


@pytest.mark.parametrize("change", [DEMOTE, UserChange(status="suspended"), None])
async def test_a_change_by_an_administrator_needs_an_active_one(nodes: list[Node], change: UserChange | None) -> None:
    await add_admin(nodes[0])
    admin, user = await add_admin(nodes[0]), await add_user(nodes[0])
    promote = UserChange(roles=("user", ADMIN))
    changed, _ = await nodes[1].users.change(user.id, UserChange(name="Ada"), AT, None, by_admin=admin.id)
    assert changed.name == "Ada"
    if change is None:
        await nodes[0].users.delete(admin.id, None)
    else:
        await nodes[0].users.change(admin.id, change, AT, None)
    before = plain(await found(nodes[0], user.id))
    for by_admin in (admin.id, user.id, UNKNOWN_ID):
        for what in (promote, UserChange(email="x@example.com", email_key="x@example.com"), UserChange(name="Eve")):
            with pytest.raises(Forbidden):
                await nodes[1].users.change(user.id, what, AT, None, by_admin=by_admin)
    assert plain(await found(nodes[1], user.id)) == before


async def test_a_demoted_administrator_never_undoes_the_demotion(nodes: list[Node]) -> None:
    boss = await add_admin(nodes[0])
    for number in range(8):
        admin = await add_admin(nodes[0])
        calls = [
            nodes[number % 2].users.change(admin.id, DEMOTE, AT, None, by_admin=boss.id),
            nodes[1].users.change(admin.id, UserChange(roles=("user", ADMIN)), AT, None, by_admin=admin.id),
            nodes[0].users.change(boss.id, UserChange(name="Boss"), AT, None, by_admin=admin.id),
        ]
        outcomes = await race(*(calls if number % 3 else calls[::-1]))
        assert {type(outcome) for outcome in outcomes} <= {tuple, Forbidden}
        assert ADMIN not in (await found(nodes[0], admin.id)).roles


# --- password ------------------------------------------------------------------------------------


async def test_a_new_password_ends_every_session_but_one(nodes: list[Node]) -> None:
    user, other = await add_user(nodes[0]), await add_user(nodes[0])
    kept, *lost = [await add_session(nodes[0], user.id) for _ in range(4)]
    theirs = await add_session(nodes[0], other.id)
    ended = await nodes[0].credentials.change_password(user.id, "new hash", AT, kept.id)
    assert sorted(ended) == sorted(session.id for session in lost)
    assert await nodes[1].credentials.find_password_hash(user.id) == "new hash"
    assert await nodes[1].credentials.find_password_hash(other.id) != "new hash"
    assert await nodes[1].is_alive(kept.id, LONG_AGO)
    assert await nodes[1].is_alive(theirs.id, LONG_AGO)
    assert not any([await nodes[1].is_alive(session.id, LONG_AGO) for session in lost])


async def test_a_new_password_for_an_unknown_account_is_not_found(storage: Node) -> None:
    user = await add_user(storage)
    session = await add_session(storage, user.id)
    with pytest.raises(NotFound):
        await storage.credentials.change_password(UNKNOWN_ID, "new hash", AT, session.id)
    assert await storage.is_alive(session.id, LONG_AGO)


# --- delete --------------------------------------------------------------------------------------


async def test_a_deletion_removes_all_data_of_the_account_and_frees_its_address(nodes: list[Node]) -> None:
    user, other = await add_user(nodes[0], email="ada@example.com"), await add_user(nodes[0])
    sessions = [await add_session(nodes[0], user.id) for _ in range(3)]
    resources = [await add_resource(nodes[0], user.id) for _ in range(3)]
    theirs = await add_session(nodes[0], other.id), await add_resource(nodes[0], other.id)
    ended = await nodes[0].users.delete(user.id, None)
    assert sorted(ended) == sorted(session.id for session in sessions)
    for node in nodes:
        assert await node.users.find(user.id) is None
        assert await node.credentials.find_credentials("ada@example.com") is None
        assert await node.credentials.find_password_hash(user.id) is None
        assert [await node.resources.find(resource.id) for resource in resources] == [None] * 3
        assert not any([await node.is_alive(session.id, LONG_AGO) for session in sessions])
        assert await node.is_alive(theirs[0].id, LONG_AGO)
        assert await node.resources.find(theirs[1].id) is not None
        # Other nodes do not know of it yet.
        assert {session.id for session in sessions} <= set(await node.revocations.ended_within(60))
    await add_user(nodes[1], email="ada@example.com")


async def test_a_deletion_checks_the_version(storage: Node) -> None:
    user = await add_user(storage)
    for versions in ((), (2,)):
        with pytest.raises(VersionMismatch) as caught:
            await storage.users.delete(user.id, versions)
        assert plain(caught.value.current) == plain(user)
    await storage.users.delete(user.id, (5, 1))
    for gone in (user.id, UNKNOWN_ID):
        with pytest.raises(NotFound):
            await storage.users.delete(gone, None)


async def test_exactly_one_of_many_concurrent_deletions_succeeds(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    outcomes = await race(*[node.users.delete(user.id, (1,)) for node in nodes_in_turn(nodes)])
    assert tally(outcomes) == {"won": 1, "NotFound": WRITERS - 1}


async def test_either_a_deletion_or_a_change_of_one_version_succeeds(nodes: list[Node]) -> None:
    for _ in range(8):
        user = await add_user(nodes[0])
        changed, deleted = await race(
            nodes[0].users.change(user.id, UserChange(name="x"), AT, (1,)), nodes[1].users.delete(user.id, (1,))
        )
        assert (type(changed), type(deleted)) in {(tuple, VersionMismatch), (NotFound, list)}


async def test_everything_created_during_a_deletion_is_deleted(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    documents = [new_resource(user.id) for _ in range(WRITERS)]
    sessions = [new_session(user.id) for _ in range(WRITERS)]
    writers = nodes_in_turn(nodes)
    creations = [create_resource(node, document) for node, document in zip(writers, documents, strict=True)]
    logins = [node.sessions.create(session, b"hash") for node, session in zip(writers, sessions, strict=True)]
    half = WRITERS // 2
    outcomes = await race(
        *creations[:half], *logins[:half], nodes[0].users.delete(user.id, None), *creations[half:], *logins[half:]
    )
    assert set(tally(outcomes)) <= {"won", "Unauthenticated"}
    assert [await nodes[1].resources.find(document.id) for document in documents] == [None] * WRITERS
    assert list(await nodes[1].sessions.list(user.id, LONG_AGO, LONG_AGO)) == []


async def test_the_address_of_a_deleted_account_can_be_used_again_immediately(nodes: list[Node]) -> None:
    user = await add_user(nodes[0], email="ada@example.com")
    outcomes = await race(
        nodes[0].users.delete(user.id, None),
        *[add_user(node, email="ada@example.com") for node in nodes_in_turn(nodes)],
    )
    assert set(tally(outcomes[1:])) <= {"won", "Conflict"}
    assert tally(outcomes[1:]).get("won", 0) <= 1
    if "won" not in tally(outcomes[1:]):
        await add_user(nodes[1], email="ada@example.com")


async def test_a_deleted_account_cannot_own_new_resources(storage: Node) -> None:
    user = await add_user(storage)
    await storage.users.delete(user.id, None)
    with pytest.raises(Unauthenticated):
        await add_resource(storage, user.id)
    with pytest.raises(Unauthenticated):
        await add_session(storage, user.id)


# --- calls of the command line ---------------------------------------------------------------------


async def test_a_list_can_be_filtered_by_status_and_role(nodes: list[Node]) -> None:
    names = {"a_b": "active", "axb": "active", "a-b": "suspended", "b": "suspended"}
    users = {
        role: await add_user(nodes[0], roles=("user", role), status="suspended" if status == "suspended" else "active")
        for role, status in names.items()
    }
    ordered = sorted(users, key=lambda role: users[role].id)

    async def listed(status: Status | None, role: str | None, limit: int = 10) -> tuple[list[str], int | None]:
        listing = Listing((SortKey("id"),), limit, count=True)
        page = await nodes[1].users.list(listing, status=status, role=role)
        return [user.roles[1] for user in page.items], page.total

    assert await listed(None, None) == (ordered, 4)
    assert await listed("active", None) == ([role for role in ordered if names[role] == "active"], 2)
    assert await listed("suspended", None, limit=1) == ([role for role in ordered if names[role] == "suspended"][:1], 2)
    for role in names:
        assert await listed(None, role) == ([role], 1)
    assert await listed(None, "user") == (ordered, 4)
    assert await listed("active", "b") == ([], 0)
    assert await listed(None, "use") == ([], 0)


async def test_a_filtered_list_is_paged_to_its_end(storage: Node) -> None:
    expected_ids = [(await add_user(storage, roles=("user", "editor"))).id for _ in range(5)]
    for _ in range(5):
        await add_user(storage)
    paged_ids: list[str] = []
    after = None
    while True:
        page = await storage.users.list(Listing((SortKey("created_at", True),), 2, after), role="editor")
        paged_ids += [user.id for user in page.items]
        after = page.next
        if after is None:
            break
    assert paged_ids == expected_ids[::-1]


async def test_a_password_set_by_an_operator_ends_every_session(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    sessions = {(await add_session(nodes[0], user.id)).id for _ in range(3)}
    assert set(await nodes[1].credentials.change_password(user.id, "another hash", AT, None)) == sessions
    assert await nodes[0].sessions.list(user.id, AT, LONG_AGO) == []
