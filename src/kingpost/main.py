"""The composition root: the one place that makes objects and picks implementations."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path

import msgspec

from kingpost.accounts import Accounts
from kingpost.cursors import Cursors
from kingpost.http import openapi
from kingpost.http.application import Application
from kingpost.http.call import Features, Health
from kingpost.http.routes import ROUTES
from kingpost.passwords import PasswordHasher, PasswordRules
from kingpost.problems import Unavailable
from kingpost.refresh_tokens import RefreshTokens
from kingpost.resources import Resources
from kingpost.revocations import Revocations
from kingpost.secret import MasterSecret, load_or_create
from kingpost.sessions import Sessions
from kingpost.settings import SECRET_FILE, Settings, is_loopback_origin
from kingpost.signing import KeyRing
from kingpost.storage import Storage
from kingpost.storage.sql.storage import open_storage
from kingpost.strict_json import JSONLimits
from kingpost.tokens import AccessTokens

HOUSEKEEPING_EVERY = 5 * 60
"""Seconds: half of the time for which a new signing key is only published."""

logger = logging.getLogger("kingpost")


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Features]:
    """Everything assembled, connected and running in the background, until the end of the block.

    Raises:
        CannotOpen: the database cannot be used.
        Unavailable: the database stopped answering meanwhile.
        SigningKeyError: the master secret does not open the database's keys.
    """
    async with contextlib.AsyncExitStack() as stack:
        storage = await open_storage(settings.database_url)
        stack.push_async_callback(storage.close)
        features = await _assemble(settings, storage, stack)
        housekeeping = asyncio.create_task(_keep_house(features))
        stack.callback(housekeeping.cancel)
        yield features


async def _assemble(settings: Settings, storage: Storage, stack: contextlib.AsyncExitStack) -> Features:
    secret = MasterSecret(settings.secret or load_or_create(Path(SECRET_FILE)))
    keys = KeyRing(storage.signing_keys, secret)
    await keys.load()
    access_tokens = AccessTokens(keys, settings.public_url, _accepted_issuer(settings))
    revocations = Revocations(storage.users, storage.sessions, remember_for=access_tokens.lifetime)
    await revocations.start()
    stack.push_async_callback(revocations.stop)
    # The workers of a node share its cores.
    hasher = PasswordHasher(threads=max(1, (os.process_cpu_count() or 1) // settings.workers))
    stack.callback(hasher.close)
    accounts = Accounts(storage.users, hasher, PasswordRules(), revocations, signup_is_open=settings.signup == "open")
    sessions = Sessions(storage.users, storage.sessions, hasher, access_tokens, RefreshTokens(secret), revocations)
    limits = JSONLimits(depth=settings.json_depth, keys=settings.json_keys)
    return Features(
        settings=settings,
        storage=storage,
        accounts=accounts,
        sessions=sessions,
        resources=Resources(storage.resources, limits, settings.body_limit),
        keys=keys,
        cursors=Cursors(secret.derive("cursors")),
        health=Health(),
        openapi=cache(lambda: msgspec.json.encode(openapi.document(ROUTES, settings.public_url))),
    )


def application(features: Features) -> Application:
    """The ASGI application on top of all features."""
    return Application(features, ROUTES)


def _accepted_issuer(settings: Settings) -> Callable[[str], bool]:
    # Without a public URL each node of a developer names itself by its own port, and still all are one.
    if settings.public_url_is_derived:
        return is_loopback_origin
    return lambda issuer: issuer == settings.public_url


async def _keep_house(features: Features) -> None:
    """Drop what nobody can use any more, and learn of new signing keys. Doing so twice changes nothing."""
    while True:
        try:
            await features.keys.load()
            await features.sessions.sweep()
        except Unavailable:
            logger.warning("housekeeping waits for the database")
        await asyncio.sleep(HOUSEKEEPING_EVERY)
