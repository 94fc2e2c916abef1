"""Sample data for the storage tests, and helpers that run many writers at once."""

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from kingpost import clock
from kingpost.accounts.one_time_tokens.store import OneTimeToken
from kingpost.audit.store import AuditListing
from kingpost.auth.revocations.store import EndAPIKeys, RequireSession
from kingpost.jobs.store import Claim, FinishJob, SealedJob
from kingpost.model import ADMIN, ActorType, AuditEntry, Resource, Session, SortKey, Status, User
from kingpost.resources.store import CreateResource, DeleteResource, ReplaceResource
from kingpost.storage.effects import Effects
from tests.nodes import Node

WRITERS = 16
DAY = 24 * 60 * 60
LONG_AGO = "2000-01-01T00:00:00.000Z"

type Write = Callable[[Node, Effects], Awaitable[object]]
"""A write of a store, together with effects."""
type Given = Callable[[Node, User], Awaitable[Write]]
"""Stores the data that a write about an account needs, and returns the write."""

_number = itertools.count()
_milliseconds = itertools.count(1_700_000_000_000, 10)


def id_and_time() -> tuple[str, str]:
    """Return a UUIDv7 and the time in it. Each call is 10 ms later than the call before."""
    milliseconds = next(_milliseconds)
    number = milliseconds << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    return str(UUID(int=number)), clock.timestamp(milliseconds)


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def plain(value: Any) -> Any:
    """Return a stored value as plain data: databases can write the same JSON differently."""
    return msgspec.json.decode(msgspec.json.encode(value))


async def add_user(
    storage: Node,
    *,
    email: str | None = None,
    name: str | None = None,
    metadata: Any = None,
    roles: tuple[str, ...] = ("user",),
    status: Status = "active",
    updated_at: str | None = None,
) -> User:
    """Store an account. Its `email_key` is the address in lower case, its password hash `hash of <address>`."""
    user_id, now = id_and_time()
    email = email or f"User{next(_number)}@example.com"
    metadata = raw({} if metadata is None else metadata)
    user = User(user_id, email, False, name, metadata, roles, status, 1, now, updated_at or now)
    await storage.users.create(user, email.lower(), f"hash of {email}")
    return user


async def add_admin(storage: Node) -> User:
    return await add_user(storage, roles=("user", ADMIN))


def new_session(user_id: str, *, last_used_at: str | None = None, expires_at: str | None = None) -> Session:
    session_id, _ = clock.new_id()
    now = clock.now()
    return Session(
        session_id, user_id, "Ünïcode agent 🦊", "2001:db8::1", now, last_used_at or now, expires_at or clock.after(DAY)
    )


async def add_session(
    storage: Node,
    user_id: str,
    token_hash: bytes = b"first",
    *,
    last_used_at: str | None = None,
    expires_at: str | None = None,
) -> Session:
    session = new_session(user_id, last_used_at=last_used_at, expires_at=expires_at)
    await storage.sessions.create(session, token_hash)
    return session


def new_resource(owner_id: str, data: Any = None, *, type: str = "note", updated_at: str | None = None) -> Resource:
    resource_id, now = id_and_time()
    document = raw({"title": "A note"} if data is None else data)
    return Resource(resource_id, type, owner_id, document, 1, now, updated_at or now)


async def add_resource(
    storage: Node, owner_id: str, data: Any = None, *, type: str = "note", updated_at: str | None = None
) -> Resource:
    resource = new_resource(owner_id, data, type=type, updated_at=updated_at)
    await create_resource(storage, resource)
    return resource


async def create_resource(storage: Node, resource: Resource) -> None:
    assert list(await storage.resources.commit([CreateResource(resource)])) == [resource]


async def replace_resource(
    storage: Node, resource_id: str, data: msgspec.Raw, at: str, versions: tuple[int, ...] | None
) -> Resource:
    (replaced,) = await storage.resources.commit([ReplaceResource(resource_id, data, at, versions)])
    assert replaced is not None
    return replaced


async def delete_resource(storage: Node, resource_id: str, versions: tuple[int, ...] | None) -> None:
    assert list(await storage.resources.commit([DeleteResource(resource_id, versions)])) == [None]


async def race(*calls: Awaitable[Any]) -> list[Any]:
    """Run calls concurrently and return the outcome of each: its value or its exception."""
    return await asyncio.gather(*calls, return_exceptions=True)


def tally(outcomes: Iterable[Any]) -> dict[str, int]:
    """Count the outcomes: by the name of the exception, or `won` for a success."""
    counts: dict[str, int] = {}
    for outcome in outcomes:
        name = type(outcome).__name__ if isinstance(outcome, BaseException) else "won"
        counts[name] = counts.get(name, 0) + 1
    return counts


def nodes_in_turn(nodes: list[Node], count: int = WRITERS) -> list[Node]:
    """Return one node for each writer, taking the nodes in turn."""
    return [nodes[index % len(nodes)] for index in range(count)]


def new_entry(
    action: str = "user.changed",
    *,
    actor_id: str | None = None,
    target_id: str | None = None,
    address: str | None = "192.0.2.7",
    request_id: str | None = "the request",
    details: Any = None,
) -> AuditEntry:
    entry_id, now = id_and_time()
    actor_type: ActorType = "anonymous" if actor_id is None else "user"
    details_json = raw({} if details is None else details)
    return AuditEntry(entry_id, now, actor_type, actor_id, action, "user", target_id, address, request_id, details_json)


def new_job(kind: str = "mail", user_id: str | None = None, sealed: bytes = b"\x00sealed\xff") -> SealedJob:
    job_id, now = id_and_time()
    return SealedJob(job_id, kind, user_id, sealed, now)


async def entries_of(storage: Node, **filters: Any) -> list[AuditEntry]:
    """Return the audit log, or the entries that match the filters, oldest first."""
    listing = AuditListing((SortKey("id"),), 1000, **filters)
    return (await storage.audit.list(listing)).items


def effects_of(
    audit: Sequence[AuditEntry] = (),
    jobs: Sequence[SealedJob] = (),
    finishes: Claim | None = None,
    tokens: Sequence[OneTimeToken] = (),
    session_id: str | None = None,
    keys_of: str | None = None,
) -> Effects:
    """Return effects of all kinds, in the order in which features pass them."""
    effects: list[msgspec.Struct] = [*audit, *jobs, *tokens]
    if finishes is not None:
        effects.append(FinishJob(finishes.job_id, finishes.attempt))
    if session_id is not None:
        effects.append(RequireSession(session_id))
    if keys_of is not None:
        effects.append(EndAPIKeys(keys_of))
    return effects
