"""The composition root: the one place that makes objects and picks implementations."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from kingpost import clock
from kingpost.accounts.administration import Administration
from kingpost.accounts.export.service import Exports
from kingpost.accounts.mail_requests import RequestedMail
from kingpost.accounts.recovery.service import Recovery
from kingpost.accounts.registration.service import Registration
from kingpost.accounts.users.service import Accounts
from kingpost.accounts.verification.service import Verification
from kingpost.audit.service import AuditLog
from kingpost.auth.api_keys.service import APIKeys
from kingpost.auth.passwords.hashing import PasswordHasher, PasswordRules
from kingpost.auth.passwords.proof import Reauthentication
from kingpost.auth.revocations.service import Revocations
from kingpost.auth.second_factor.recovery_codes import RecoveryCodes
from kingpost.auth.second_factor.service import SecondFactors
from kingpost.auth.second_factor.totp import TOTPSealer
from kingpost.auth.sessions.access_tokens import AccessTokens
from kingpost.auth.sessions.refresh_tokens import RefreshTokens
from kingpost.auth.sessions.service import Sessions
from kingpost.auth.signing_keys.ring import KeyRing, WrongSecret
from kingpost.auth.signing_keys.rotation import KeyRotation
from kingpost.guessing import Guessing
from kingpost.http.app.application import Application
from kingpost.http.app.call import Features, Health
from kingpost.http.app.cursors import Cursors
from kingpost.http.openapi import document as openapi
from kingpost.jobs.runner import JobRunner
from kingpost.jobs.sealing import JobSealer
from kingpost.jsontools.strict import JSONLimits
from kingpost.limits import Limits
from kingpost.limits.memory import MemoryLimits
from kingpost.mail import KIND as MAIL
from kingpost.mail import Messages
from kingpost.mail.delivery import Delivery
from kingpost.problems import Unavailable
from kingpost.resources.service import Resources
from kingpost.routes import ROUTES
from kingpost.secret import MasterSecret, load_or_create
from kingpost.settings import SECRET_FILE, Settings, is_loopback_origin
from kingpost.storage import Storage
from kingpost.storage.sql.storage import open_storage

HOUSEKEEPING_EVERY = 5 * 60
"""Seconds. Every process of every node does it; of what several would do at once, one does it."""

logger = logging.getLogger("kingpost")


@contextlib.asynccontextmanager
async def running(settings: Settings, *, background: bool = True) -> AsyncIterator[Features]:
    """Everything assembled, connected and running in the background, until the end of the block.

    Args:
        settings: what is in force.
        background: whether jobs are done and house is kept. A command leaves both to the servers.

    Raises:
        InvalidSettings: an operator's mail template is broken.
        CannotOpen: the database cannot be used.
        Unavailable: the database stopped answering meanwhile.
        SigningKeyError: the master secret does not open the database's keys.
    """
    async with contextlib.AsyncExitStack() as stack:
        storage = await open_storage(settings.database_url)
        stack.push_async_callback(storage.close)
        features = _assemble(await _base(settings, storage, stack))
        if background:
            features.jobs.start()
            stack.push_async_callback(features.jobs.stop)
            housekeeping = asyncio.create_task(_keep_house(features))
            stack.callback(housekeeping.cancel)
        yield features


class _Base(NamedTuple):
    """What several features are made of."""

    settings: Settings
    storage: Storage
    secret: MasterSecret
    sealer: JobSealer
    messages: Messages
    keys: KeyRing
    access_tokens: AccessTokens
    revocations: Revocations
    hasher: PasswordHasher
    rules: PasswordRules
    guessing: Guessing
    reauthentication: Reauthentication
    requested_mail: RequestedMail


async def _base(settings: Settings, storage: Storage, stack: contextlib.AsyncExitStack) -> _Base:
    secret = _secret(settings, is_new=not await storage.signing_keys.list())
    keys = KeyRing(storage.signing_keys, secret)
    await keys.load()
    access_tokens = AccessTokens(keys, settings.public_url, _accepted_issuer(settings))
    revocations = Revocations(storage.users, storage.sessions, keys, remember_for=access_tokens.lifetime)
    await revocations.start()
    stack.push_async_callback(revocations.stop)
    # The workers of a node share its cores.
    hasher = PasswordHasher(threads=max(1, (os.process_cpu_count() or 1) // settings.workers))
    stack.callback(hasher.close)
    guessing = Guessing(await _limits(settings, stack), settings.rate_limit_login, secret)
    sealer = JobSealer(secret)
    messages = Messages(sealer)
    return _Base(
        settings=settings,
        storage=storage,
        secret=secret,
        sealer=sealer,
        messages=messages,
        keys=keys,
        access_tokens=access_tokens,
        revocations=revocations,
        hasher=hasher,
        rules=PasswordRules(),
        guessing=guessing,
        reauthentication=Reauthentication(storage.users, storage.sessions, storage.audit, hasher, guessing),
        requested_mail=RequestedMail(storage.users, storage.one_time_tokens, storage.jobs, sealer, messages),
    )


def _secret(settings: Settings, *, is_new: bool) -> MasterSecret:
    """The master secret; a new one only for a database that `is_new`, since it opens nothing that is there already."""
    file = Path(SECRET_FILE)
    if settings.secret is None and not is_new and not file.exists():
        raise WrongSecret
    return MasterSecret(settings.secret or load_or_create(file))


def _assemble(base: _Base) -> Features:
    settings, storage, secret = base.settings, base.storage, base.secret
    verification = _verification(base)
    accounts = Accounts(
        storage.users,
        base.hasher,
        base.rules,
        base.revocations,
        base.reauthentication,
        base.guessing,
        verification,
        base.messages,
    )
    registration = Registration(
        accounts, storage.users, storage.jobs, base.sealer, base.requested_mail, settings.signup
    )
    recovery = _recovery(base)
    second_factors = _second_factors(base)
    api_keys = APIKeys(storage.api_keys, storage.users, base.messages, secret)
    base.revocations.when_account_changes(api_keys.forget)
    handlers = {**registration.handlers(), **verification.handlers(), **recovery.handlers()}
    delivery = Delivery.of(settings, base.sealer)
    return Features(
        settings=settings,
        storage=storage,
        accounts=accounts,
        registration=registration,
        verification=verification,
        recovery=recovery,
        sessions=_sessions(base, second_factors),
        second_factors=second_factors,
        api_keys=api_keys,
        resources=Resources(
            storage.resources, JSONLimits(depth=settings.json_depth, keys=settings.json_keys), settings.body_limit
        ),
        keys=base.keys,
        key_rotation=KeyRotation(
            storage.signing_keys,
            base.keys,
            secret,
            token_lifetime=base.access_tokens.lifetime,
            rotation_days=settings.key_rotation_days,
        ),
        administration=Administration(storage, accounts, base.hasher, base.rules, base.messages),
        jobs=JobRunner(storage.jobs, {MAIL: delivery.deliver, **handlers}),
        audit_log=AuditLog(storage.audit),
        exports=Exports(storage),
        cursors=Cursors(secret.derive("cursors")),
        health=Health(),
        openapi=cache(lambda: msgspec.json.encode(openapi.document(ROUTES, settings.public_url))),
    )


def _verification(base: _Base) -> Verification:
    return Verification(
        base.storage.users,
        base.storage.one_time_tokens,
        base.requested_mail,
        base.messages,
        verified_only=base.settings.signup == "verified",
    )


def _recovery(base: _Base) -> Recovery:
    return Recovery(
        base.storage.one_time_tokens,
        base.requested_mail,
        base.messages,
        base.hasher,
        base.rules,
        base.guessing,
        base.revocations,
    )


def _second_factors(base: _Base) -> SecondFactors:
    return SecondFactors(
        base.storage.second_factors,
        base.storage.users,
        TOTPSealer(base.secret),
        RecoveryCodes(base.secret),
        base.reauthentication,
        base.guessing,
        base.messages,
        base.settings.service_name,
    )


def _sessions(base: _Base, second_factors: SecondFactors) -> Sessions:
    return Sessions(
        base.storage.users,
        base.storage.sessions,
        base.storage.audit,
        base.hasher,
        base.guessing,
        second_factors,
        base.access_tokens,
        RefreshTokens(base.secret),
        base.revocations,
        verified_only=base.settings.signup == "verified",
    )


async def _limits(settings: Settings, stack: contextlib.AsyncExitStack) -> Limits:
    alone = MemoryLimits()
    if settings.valkey_url is None:
        return alone
    # Only its users pay for the import of the client library.
    from kingpost.limits.valkey import ValkeyLimits  # noqa: PLC0415

    shared = ValkeyLimits(settings.valkey_url, alone)
    stack.push_async_callback(shared.close)
    await shared.start()
    return shared


def application(features: Features) -> Application:
    """The ASGI application on top of all features."""
    return Application(features, ROUTES)


def _accepted_issuer(settings: Settings) -> Callable[[str], bool]:
    # Without a public URL each node of a developer names itself by its own port, and still all are one.
    if settings.public_url_is_derived:
        return is_loopback_origin
    return lambda issuer: issuer == settings.public_url


async def _keep_house(features: Features) -> None:
    """Rotate the signing keys, and drop what nobody can use any more. Doing so twice changes nothing."""
    while True:
        try:
            await features.key_rotation.keep_up()
            await features.sessions.sweep()
            await features.jobs.sweep()
            await features.audit_log.sweep()
            await features.storage.one_time_tokens.forget_expired(clock.now())
        except Unavailable:
            logger.warning("housekeeping waits for the database")
        except Exception:
            logger.exception("housekeeping failed")
        await asyncio.sleep(HOUSEKEEPING_EVERY)
