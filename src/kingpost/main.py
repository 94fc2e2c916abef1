"""The composition root: opens the database and the other resources, builds the features, and joins their routes.

It is the only module that chooses implementations.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kingpost.accounts import wing as accounts_wing
from kingpost.accounts.one_time_tokens import sql as one_time_tokens_sql
from kingpost.accounts.users import sql as users_sql
from kingpost.accounts.wing import Accounts, AccountStores, build_accounts
from kingpost.audit import routes as audit_routes
from kingpost.audit import sql as audit_sql
from kingpost.audit.service import AuditLog
from kingpost.auth import wing as auth_wing
from kingpost.auth.api_keys import sql as api_keys_sql
from kingpost.auth.passwords import sql as passwords_sql
from kingpost.auth.passwords.hashing import PRODUCTION, HashingCost
from kingpost.auth.revocations import sql as revocations_sql
from kingpost.auth.second_factor import sql as second_factor_sql
from kingpost.auth.sessions import sql as sessions_sql
from kingpost.auth.signing_keys import sql as signing_keys_sql
from kingpost.auth.signing_keys.ring import WrongSecret
from kingpost.auth.throttling.counters import AttemptCounters
from kingpost.auth.throttling.memory import MemoryCounters
from kingpost.auth.wing import Auth, AuthStores, open_auth
from kingpost.http.app import operations
from kingpost.http.app.application import Application
from kingpost.http.app.call import Machine
from kingpost.http.app.cursors import Cursors
from kingpost.http.app.operations import Readiness
from kingpost.http.app.router import Endpoint, Route, bind
from kingpost.http.openapi import routes as openapi_routes
from kingpost.http.openapi.document import document
from kingpost.http.openapi.published import PublishedDocument
from kingpost.jobs import sql as jobs_sql
from kingpost.jobs.runner import JobRunner
from kingpost.jobs.sealing import JobSealer
from kingpost.jobs.store import SealedJob
from kingpost.jsontools.strict import JSONLimits
from kingpost.jsontools.worker import Worker
from kingpost.mail import KIND as MAIL
from kingpost.mail import Messages
from kingpost.mail.delivery import Delivery
from kingpost.problems import Unavailable
from kingpost.resources import routes as resource_routes
from kingpost.resources import sql as resources_sql
from kingpost.resources.service import Resources
from kingpost.secret import MasterSecret, load_or_create
from kingpost.settings import SECRET_FILE, Settings
from kingpost.storage.database import Database
from kingpost.storage.opening import open_migrated
from kingpost.storage.owned import Owned
from kingpost.storage.writes import Kind, Writes

HOUSEKEEPING_INTERVAL = 5 * 60
"""Seconds between two runs. Every process of every node runs housekeeping. Concurrent runs do the work only once."""

ROUTES: Sequence[Route[Any]] = (
    *accounts_wing.ROUTES,
    *auth_wing.ROUTES,
    *resource_routes.ROUTES,
    *audit_routes.ROUTES,
    *operations.ROUTES,
    *openapi_routes.ROUTES,
)
"""Every route, in the order of the documentation."""

logger = logging.getLogger("kingpost")


OWNED: Sequence[Owned] = (
    resources_sql.OWNED,
    api_keys_sql.OWNED,
    second_factor_sql.OWNED,
    one_time_tokens_sql.OWNED,
    jobs_sql.OWNED,
    audit_sql.OWNED,
)
"""The rows that the features store about an account. They are deleted with it."""


KINDS: Mapping[type, Kind[Any]] = {
    **resources_sql.KINDS,
    **audit_sql.KINDS,
    **jobs_sql.KINDS,
    **one_time_tokens_sql.KINDS,
    **passwords_sql.KINDS,
    **revocations_sql.KINDS,
}
"""The statements for each type of write."""


@dataclass(frozen=True, kw_only=True)
class Stores(AuthStores, AccountStores):
    """All stores, on one database."""


def stores_on(database: Database, writes: Writes) -> Stores:
    """Return the stores on a database whose schema is up to date."""
    return Stores(
        users=users_sql.SQLUsers(database, writes, OWNED),
        credentials=passwords_sql.SQLCredentials(database, writes),
        sessions=sessions_sql.SQLSessions(database, writes),
        second_factors=second_factor_sql.SQLSecondFactors(database, writes),
        api_keys=api_keys_sql.SQLAPIKeys(database, writes),
        signing_keys=signing_keys_sql.SQLSigningKeys(database, writes),
        revocations=revocations_sql.SQLRevocations(database),
        one_time_tokens=one_time_tokens_sql.SQLOneTimeTokens(database, writes, OWNED),
        resources=resources_sql.SQLResources(database, writes),
        jobs=jobs_sql.SQLJobs(database, writes),
        audit=audit_sql.SQLAuditLog(database, writes),
    )


@dataclass(frozen=True, kw_only=True)
class Running:
    """All services, connected and running."""

    settings: Settings
    database: Database
    stores: Stores
    auth: Auth
    accounts: Accounts
    resources: Resources
    audit_log: AuditLog
    jobs: JobRunner
    readiness: Readiness
    application: Application


@contextlib.asynccontextmanager
async def running(
    settings: Settings, *, background: bool = True, hashing_cost: HashingCost = PRODUCTION
) -> AsyncIterator[Running]:
    """Build and run all services until the end of the block.

    Args:
        settings: the effective configuration.
        background: whether to run jobs and housekeeping. Commands leave both to the servers.
        hashing_cost: the cost of password hashes. Only tests reduce it.

    Raises:
        InvalidSettings: a custom mail template is invalid.
        CannotOpen: the database cannot be used.
        Unavailable: the database stopped responding during startup.
        SigningKeyError: the master secret cannot decrypt the signing keys in the database.
    """
    async with contextlib.AsyncExitStack() as stack:
        database = await open_migrated(settings.database_url)
        stack.push_async_callback(database.close)
        assembled = await _assemble(stack, settings, database, hashing_cost)
        if background:
            assembled.jobs.start()
            stack.push_async_callback(assembled.jobs.stop)
            housekeeping = asyncio.create_task(_run_housekeeping(assembled))
            stack.callback(housekeeping.cancel)
        yield assembled


async def _assemble(
    stack: contextlib.AsyncExitStack, settings: Settings, database: Database, hashing_cost: HashingCost
) -> Running:
    writes = Writes(database, KINDS)
    stores = stores_on(database, writes)
    secret = _secret(settings, is_new=not await stores.signing_keys.list())
    sealer = JobSealer(secret)
    messages = Messages(sealer)
    auth = await open_auth(
        stack, settings, secret, stores, messages, await _attempt_counters(settings, stack), hashing_cost
    )
    accounts = build_accounts(settings, stores, auth, sealer, messages)
    json_limits = JSONLimits(depth=settings.json_depth, keys=settings.json_keys)
    json_worker = Worker()
    stack.callback(json_worker.close)
    resources = Resources(stores.resources, json_worker, json_limits, settings.body_limit)
    audit_log = AuditLog(stores.audit)
    readiness = Readiness(database.ping)
    openapi = PublishedDocument(lambda: document(ROUTES, settings.public_url), generation=lambda: 0)
    endpoints: Sequence[Endpoint] = (
        *accounts.endpoints(),
        *auth.endpoints(),
        *bind(resource_routes.ROUTES, resources),
        *bind(audit_routes.ROUTES, audit_log),
        *bind(operations.ROUTES, readiness),
        *bind(openapi_routes.ROUTES, openapi),
    )
    machine = Machine(
        auth.credentials(), Cursors(secret.derive("cursors")), settings.body_limit, json_limits, json_worker
    )
    delivery = Delivery.of(settings, sealer)
    jobs = JobRunner(stores.jobs, {MAIL: delivery.deliver, **accounts.job_handlers()})
    writes.after_commit(SealedJob, jobs.wake)
    return Running(
        settings=settings,
        database=database,
        stores=stores,
        auth=auth,
        accounts=accounts,
        resources=resources,
        audit_log=audit_log,
        jobs=jobs,
        readiness=readiness,
        application=Application(settings, machine, endpoints),
    )


def _secret(settings: Settings, *, is_new: bool) -> MasterSecret:
    """Return the master secret. Generate one only for a new database: it cannot decrypt existing data."""
    file = Path(SECRET_FILE)
    if settings.secret is None and not is_new and not file.exists():
        raise WrongSecret
    return MasterSecret(settings.secret or load_or_create(file))


async def _attempt_counters(settings: Settings, stack: contextlib.AsyncExitStack) -> AttemptCounters:
    if settings.valkey_url is None:
        return MemoryCounters()
    # Import the client library only if it is needed.
    from kingpost.auth.throttling.valkey import ValkeyCounters  # noqa: PLC0415

    shared = ValkeyCounters(settings.valkey_url)
    stack.push_async_callback(shared.close)
    await shared.start()
    return shared


async def _run_housekeeping(kingpost: Running) -> None:
    """Rotate keys, delete expired rows and refresh statistics periodically. Each step is idempotent."""
    while True:
        try:
            await kingpost.auth.run_housekeeping()
            await kingpost.accounts.run_housekeeping()
            await kingpost.jobs.sweep()
            await kingpost.audit_log.sweep()
            await kingpost.database.refresh_statistics()
        except Unavailable:
            logger.warning("housekeeping is postponed: the database is not available")
        except Exception:
            logger.exception("housekeeping failed")
        await asyncio.sleep(HOUSEKEEPING_INTERVAL)
