"""The composition of the authentication features: builds their services, and joins their routes."""

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kingpost.accounts.export.service import Read
from kingpost.accounts.users.store import UserStore
from kingpost.audit.store import AuditStore
from kingpost.auth.api_keys import routes as api_key_routes
from kingpost.auth.api_keys.key_format import PREFIX as API_KEY_PREFIX
from kingpost.auth.api_keys.schemas import ExportedKey
from kingpost.auth.api_keys.service import APIKeys
from kingpost.auth.api_keys.store import APIKeyStore
from kingpost.auth.passwords import routes as password_routes
from kingpost.auth.passwords.hashing import HashingCost, PasswordHasher, PasswordRules
from kingpost.auth.passwords.proof import Reauthentication
from kingpost.auth.passwords.service import Passwords
from kingpost.auth.passwords.store import CredentialStore
from kingpost.auth.revocations.service import Revocations
from kingpost.auth.revocations.store import RevocationStore
from kingpost.auth.second_factor import routes as second_factor_routes
from kingpost.auth.second_factor.codes import Codes
from kingpost.auth.second_factor.recovery_codes import RecoveryCodes
from kingpost.auth.second_factor.schemas import ExportedSecondFactor
from kingpost.auth.second_factor.service import SecondFactors
from kingpost.auth.second_factor.store import SecondFactorStore
from kingpost.auth.second_factor.totp import TOTPSealer
from kingpost.auth.sessions import routes as session_routes
from kingpost.auth.sessions.access_tokens import AccessTokens
from kingpost.auth.sessions.refresh_tokens import RefreshTokens
from kingpost.auth.sessions.schemas import ExportedSession
from kingpost.auth.sessions.service import Sessions
from kingpost.auth.sessions.store import SessionStore
from kingpost.auth.signing_keys import routes as signing_key_routes
from kingpost.auth.signing_keys.ring import KeyRing
from kingpost.auth.signing_keys.rotation import KeyRotation
from kingpost.auth.signing_keys.store import SigningKeyStore
from kingpost.auth.throttling.counters import AttemptCounters
from kingpost.auth.throttling.service import Throttle
from kingpost.http.app.call import Credential
from kingpost.http.app.router import Endpoint, Route, bind
from kingpost.mail import Messages
from kingpost.secret import MasterSecret
from kingpost.settings import Settings, is_loopback_origin

ROUTES: Sequence[Route[Any]] = (
    *session_routes.ROUTES,
    *password_routes.ROUTES,
    *second_factor_routes.ROUTES,
    *api_key_routes.ROUTES,
    *signing_key_routes.ROUTES,
)


EXPORTS: Mapping[str, Any] = {
    "sessions": list[ExportedSession],
    "api_keys": list[ExportedKey],
    "second_factor": ExportedSecondFactor | None,
}
"""The types of the fields that these features add to an account's export, by name."""


@dataclass(frozen=True, kw_only=True)
class AuthStores:
    """The stores that the authentication features need."""

    users: UserStore
    audit: AuditStore
    credentials: CredentialStore
    sessions: SessionStore
    second_factors: SecondFactorStore
    api_keys: APIKeyStore
    signing_keys: SigningKeyStore
    revocations: RevocationStore


@dataclass(frozen=True, kw_only=True)
class Auth:
    """The services of the authentication features."""

    hasher: PasswordHasher
    password_rules: PasswordRules
    throttle: Throttle
    reauthentication: Reauthentication
    revocations: Revocations
    passwords: Passwords
    sessions: Sessions
    codes: Codes
    second_factors: SecondFactors
    api_keys: APIKeys
    keys: KeyRing
    key_rotation: KeyRotation
    exports: Mapping[str, Read]
    """The functions that read the fields of `EXPORTS`."""

    def endpoints(self) -> Sequence[Endpoint]:
        """Return the endpoints of the authentication features."""
        return [
            *bind(session_routes.ROUTES, self.sessions),
            *bind(password_routes.ROUTES, self.passwords),
            *bind(second_factor_routes.ROUTES, self.second_factors),
            *bind(api_key_routes.ROUTES, self.api_keys),
            *bind(signing_key_routes.ROUTES, self.keys),
        ]

    def credentials(self) -> Sequence[Credential]:
        """Return the kinds of bearer credentials. Access tokens have no prefix, so they come last."""
        return [
            Credential(API_KEY_PREFIX, "an API key", self.api_keys.authenticate),
            Credential("", "an access token", self.sessions.authenticate),
        ]

    async def run_housekeeping(self) -> None:
        """Rotate the signing keys if necessary, and delete expired sessions."""
        await self.key_rotation.keep_up()
        await self.sessions.sweep()


async def open_auth(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    secret: MasterSecret,
    stores: AuthStores,
    messages: Messages,
    counters: AttemptCounters,
    hashing_cost: HashingCost,
) -> Auth:
    """Build the services of the authentication features, and start their background tasks.

    The stack stops the tasks when it unwinds.

    Raises:
        SigningKeyError: the master secret cannot decrypt the signing keys in the database.
        Unavailable: the database does not answer.
    """
    keys = KeyRing(stores.signing_keys, secret)
    await keys.load()
    access_tokens = AccessTokens(keys, settings.public_url, _accepted_issuer(settings))
    revocations = Revocations(stores.revocations, keys, remember_for=access_tokens.lifetime)
    await revocations.start()
    stack.push_async_callback(revocations.stop)
    hasher = _password_hasher(stack, settings, hashing_cost)
    password_rules = PasswordRules()
    throttle = Throttle(counters, settings.rate_limit_login, secret)
    sealer, recovery_codes = TOTPSealer(secret), RecoveryCodes(secret)
    codes = Codes(stores.second_factors, sealer, recovery_codes, throttle)
    reauthentication = Reauthentication(stores.credentials, codes, stores.audit, hasher, throttle)
    second_factors = SecondFactors(
        stores.second_factors,
        stores.users,
        sealer,
        recovery_codes,
        codes,
        reauthentication,
        throttle,
        messages,
        settings.service_name,
    )
    refresh_tokens = RefreshTokens(secret)
    sessions = _sessions(settings, stores, hasher, throttle, codes, access_tokens, refresh_tokens, revocations)
    api_keys = APIKeys(stores.api_keys, stores.users, reauthentication, messages, secret)
    revocations.when_account_changes(api_keys.forget)
    return Auth(
        hasher=hasher,
        password_rules=password_rules,
        throttle=throttle,
        reauthentication=reauthentication,
        revocations=revocations,
        passwords=Passwords(stores.credentials, hasher, password_rules, reauthentication, revocations, messages),
        sessions=sessions,
        codes=codes,
        second_factors=second_factors,
        api_keys=api_keys,
        keys=keys,
        key_rotation=_key_rotation(settings, secret, stores, keys, access_tokens),
        exports={
            "sessions": stores.sessions.export,
            "api_keys": api_keys.export,
            "second_factor": stores.second_factors.export,
        },
    )


def _password_hasher(stack: contextlib.AsyncExitStack, settings: Settings, cost: HashingCost) -> PasswordHasher:
    # The workers of a node share its cores.
    hasher = PasswordHasher(cost, threads=max(1, (os.process_cpu_count() or 1) // settings.workers))
    stack.callback(hasher.close)
    return hasher


def _sessions(
    settings: Settings,
    stores: AuthStores,
    hasher: PasswordHasher,
    throttle: Throttle,
    codes: Codes,
    access_tokens: AccessTokens,
    refresh_tokens: RefreshTokens,
    revocations: Revocations,
) -> Sessions:
    return Sessions(
        stores.credentials,
        stores.users,
        stores.sessions,
        stores.audit,
        hasher,
        throttle,
        codes,
        access_tokens,
        refresh_tokens,
        revocations,
        verified_only=settings.signup == "verified",
    )


def _key_rotation(
    settings: Settings, secret: MasterSecret, stores: AuthStores, keys: KeyRing, access_tokens: AccessTokens
) -> KeyRotation:
    return KeyRotation(
        stores.signing_keys,
        keys,
        secret,
        token_lifetime=access_tokens.lifetime,
        rotation_days=settings.key_rotation_days,
    )


def _accepted_issuer(settings: Settings) -> Callable[[str], bool]:
    # Without a public URL, nodes on a developer's machine have different ports in their derived URLs. They are still
    # one server, and accept each other's tokens.
    if settings.public_url_is_derived:
        return is_loopback_origin
    return lambda issuer: issuer == settings.public_url
