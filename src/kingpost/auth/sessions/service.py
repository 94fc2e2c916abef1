"""Sign-in, refresh and sign-out, and authentication by access token."""

import logging
from collections.abc import Sequence
from typing import Literal

import msgspec

from kingpost import audit, clock
from kingpost.accounts.users.store import UserStore
from kingpost.audit.store import AuditStore
from kingpost.auth.passwords.hashing import PasswordHasher
from kingpost.auth.passwords.store import Credentials, CredentialStore
from kingpost.auth.revocations.service import Revocations
from kingpost.auth.revocations.store import end_of_api_keys
from kingpost.auth.second_factor.codes import Codes
from kingpost.auth.second_factor.store import SecondFactor
from kingpost.auth.sessions.access_tokens import AccessTokens, VerifiedTokens
from kingpost.auth.sessions.refresh_tokens import RefreshToken, RefreshTokens
from kingpost.auth.sessions.store import SessionStore
from kingpost.auth.throttling.service import Throttle
from kingpost.emails import InvalidEmail, address
from kingpost.model import Context, Principal, Session, User
from kingpost.problems import Forbidden, InvalidCredentials, MfaRequired, NotFound, Unauthenticated
from kingpost.storage.effects import Effects

DAY = 24 * 60 * 60
IDLE_LIFETIME = 30 * DAY
ABSOLUTE_LIFETIME = 90 * DAY
REUSE_WINDOW = 10
"""Seconds for which a used refresh token can be sent again, in case the first response was lost."""

type Extent = Literal["session", "sessions", "everything"]
"""What a logout ends: one session, all sessions of the account, or all its sessions and API keys."""

type Refusal = Literal["password", "status", "second_factor"]
"""Why a login was refused. This goes to the audit log only, never to the client."""

logger = logging.getLogger("kingpost.sessions")


class Grant(msgspec.Struct, frozen=True):
    """The result of a sign-in or refresh. `expires_in` is the lifetime of the access token in seconds."""

    access_token: str
    expires_in: int
    refresh_token: str
    session: Session
    user: User


class Sessions:
    """Starts, refreshes and ends sessions, and authenticates callers by access token."""

    def __init__(
        self,
        credentials: CredentialStore,
        users: UserStore,
        sessions: SessionStore,
        audit_log: AuditStore,
        hasher: PasswordHasher,
        throttle: Throttle,
        codes: Codes,
        access_tokens: AccessTokens,
        refresh_tokens: RefreshTokens,
        revocations: Revocations,
        *,
        verified_only: bool,
    ) -> None:
        """With `verified_only`, only accounts with a verified address can log in."""
        self._users = users
        self._credentials = credentials
        self._sessions = sessions
        self._audit_log = audit_log
        self._hasher = hasher
        self._throttle = throttle
        self._codes = codes
        self._verified_only = verified_only
        self._access_tokens = access_tokens
        self._refresh_tokens = refresh_tokens
        self._revocations = revocations
        self._verified = VerifiedTokens()
        access_tokens.when_keys_go(self._verified.forget)

    async def authenticate(self, token: str) -> Principal:
        """Return the caller that an access token identifies.

        Raises:
            Unauthenticated: the token is malformed, forged or expired, or its session has ended.
            Unavailable: the state of its session or its key is unknown, and the database does not answer.
        """
        verified = self._verified.remembered(token)
        if verified is None:
            verified = await self._access_tokens.verify(token)
            self._verified.remember(token, verified)
        principal = verified.principal
        return self._revocations.present(principal) or await self._revocations.look_up(principal, verified.key_id)

    async def login(self, context: Context, email: str, password: str, otp: str | None) -> Grant:
        """Start a session.

        Raises:
            InvalidCredentials: the address is unknown, the password or the code is wrong, the code was used before,
                or the account is suspended or must be verified first. The client cannot see which.
            MfaRequired: the password is right, but the code of the second factor is missing.
            RateLimited: there were too many failed attempts.
            Unavailable: too many logins are waiting.
        """
        try:
            key, is_address = address(email).key, True
        except InvalidEmail:
            key, is_address = email, False
        async with self._throttle.password(key, context.origin.address) as attempt:
            credentials = await self._credentials.find_credentials(key) if is_address else None
            # Hash for an unknown address, too, so that the response time does not reveal that it is unknown.
            matches = await self._hasher.verify(credentials.password_hash if credentials else None, password)
            if credentials is None or not matches:
                raise await self._refused(context, credentials, "password")
            user = credentials.user
            if user.status != "active" or (self._verified_only and not user.email_verified):
                raise await self._refused(context, credentials, "status")
            factor = await self._codes.find(user.id)
            if factor is not None and not otp:
                raise MfaRequired()
            if factor is not None and not await self._codes.passes(context, user.id, factor.sealed, otp or ""):
                raise await self._refused(context, credentials, "second_factor")
            attempt.succeed()
        grant = await self._start(context, credentials, password, factor)
        await self._upgrade_hash(credentials, password)
        return grant

    async def _refused(self, context: Context, credentials: Credentials | None, reason: Refusal) -> InvalidCredentials:
        """Record a refused login in the audit log, and return the response.

        This is one insert in any case, so that the time does not reveal whether the account exists.
        """
        user_id = None if credentials is None else credentials.user.id
        await self._audit_log.add(audit.entry(context, "session.refused", "user", user_id, reason=reason))
        return InvalidCredentials()

    async def _start(
        self, context: Context, credentials: Credentials, password: str, factor: SecondFactor | None
    ) -> Grant:
        """Store a session, if the account still has the credentials that the login was checked against.

        Raises:
            InvalidCredentials: the credentials have changed, or the account was suspended or deleted.
        """
        user = credentials.user
        session_id, now = clock.new_id()
        expires_at = clock.after(ABSOLUTE_LIFETIME)
        origin = context.origin
        session = Session(session_id, user.id, origin.device, origin.address, now, now, expires_at)
        token = self._refresh_tokens.first(session_id)
        signed_in = Context(Principal(user.id, session_id, frozenset(user.roles)), origin)
        effects = self._entry(signed_in, "session.started", user.id, session_id=session_id)
        sealed = None if factor is None else factor.sealed
        try:
            await self._sessions.create(session, token.hash, credentials.password_hash, effects, second_factor=sealed)
        except Unauthenticated:
            # A concurrent login may have upgraded the hash of the same password.
            present = await self._credentials.find_password_hash(user.id)
            if present == credentials.password_hash or not await self._hasher.verify(present, password):
                raise InvalidCredentials() from None
            try:
                await self._sessions.create(session, token.hash, present, effects, second_factor=sealed)
            except Unauthenticated:
                raise InvalidCredentials() from None
        return self._grant(user, session, token)

    async def _upgrade_hash(self, credentials: Credentials, password: str) -> None:
        """Replace a hash that was made with outdated parameters. This is best effort: errors are only logged."""
        if not self._hasher.needs_rehash(credentials.password_hash):
            return
        try:
            new = await self._hasher.hash(password, is_proven=True)
            await self._credentials.upgrade_password_hash(credentials.user.id, credentials.password_hash, new)
        except Exception:
            logger.exception("cannot upgrade the password hash of %s", credentials.user.id)

    async def refresh(self, context: Context, text: str) -> Grant:
        """Exchange a refresh token for a new access token and its successor.

        Raises:
            Unauthenticated: the token is forged or expired, or was used before, which ends its session.
        """
        token = self._genuine(text)
        successor = self._refresh_tokens.successor(token)

        def reused(user_id: str) -> Effects:
            return self._entry(context, "session.refresh_token_reused", user_id, session_id=token.session_id)

        rotation = await self._sessions.rotate(
            token.session_id,
            token.hash,
            successor.hash,
            at=clock.now(),
            repeatable_for=REUSE_WINDOW,
            idle_since=clock.after(-IDLE_LIFETIME),
            if_reused=reused,
        )
        if rotation is None:
            self._revocations.add([token.session_id])
            raise Unauthenticated("The refresh token has been used or has expired, and its session has ended")
        return self._grant(rotation.user, rotation.session, successor)

    async def logout(self, context: Context, extent: Extent) -> None:
        """End the caller's session, or more of its account."""
        caller = context.caller
        if extent == "session":
            await self._end(context, caller.own_session, caller.user_id)
        else:
            await self._end_all(context, caller.user_id, keys=extent == "everything")
        self._revocations.add([caller.own_session])

    async def logout_with(self, context: Context, text: str, extent: Extent) -> None:
        """End the session of a refresh token, or more of its account. Do nothing if the session has ended already.

        Raises:
            Unauthenticated: the token is forged.
        """
        token = self._genuine(text)
        session = await self._sessions.find(token.session_id)
        if session is not None:
            # The token authorises its account until its session ends, so only an active session can end the others.
            owner = Context(Principal(session.user_id, session.id, frozenset()), context.origin)
            if extent == "session":
                await self._end(owner, session.id, session.user_id)
            else:
                await self._end_all(owner, session.user_id, only_with=session.id, keys=extent == "everything")
        self._revocations.add([token.session_id])

    async def list(self, user_id: str) -> Sequence[Session]:
        """Return the active sessions of an account, most recently used first, and 1,000 at most."""
        return await self._sessions.list(user_id, clock.now(), clock.after(-IDLE_LIFETIME))

    async def list_of(self, principal: Principal, user_id: str) -> Sequence[Session]:
        """Return the active sessions of an account, if the caller may read them.

        Raises:
            Forbidden: the account is not the caller's own, and the caller is not an administrator.
            NotFound: no account has this id.
        """
        await self._check_account(principal, user_id)
        return await self.list(user_id)

    async def end(self, context: Context, session_id: str) -> None:
        """End one of the caller's sessions, or any session if the caller is an administrator.

        Raises:
            NotFound: no active session has this id.
            Forbidden: the session belongs to another account.
        """
        session = await self._sessions.find(session_id)
        if session is None:
            raise NotFound()
        if not context.caller.may_manage(session.user_id):
            # Ids cannot be guessed, so telling 404 from 403 reveals nothing.
            raise Forbidden()
        if not await self._end(context, session_id, session.user_id):
            raise NotFound()

    async def end_others(self, context: Context) -> None:
        """End all of the caller's sessions except the present one."""
        caller = context.caller
        await self._end_all(context, caller.user_id, kept=caller.own_session)

    async def end_all_of(self, context: Context, user_id: str) -> None:
        """End all sessions of an account.

        Raises:
            Forbidden, NotFound: as for `list_of`; or the caller is an API key of this account.
        """
        context.caller.refuse_own_key(user_id, "No API key can end the sessions of its owner")
        await self._check_account(context.caller, user_id)
        await self._end_all(context, user_id)

    async def sweep(self) -> None:
        """Delete the sessions that expired more than a day ago."""
        await self._sessions.forget_expired(clock.after(-DAY))

    async def _check_account(self, principal: Principal, user_id: str) -> None:
        if await self._users.find(user_id) is None:
            raise NotFound()
        if not principal.may_manage(user_id):
            raise Forbidden()

    async def _end(self, context: Context, session_id: str, user_id: str) -> bool:
        """End one session; return whether this call ended it."""
        effects = self._entry(context, "session.ended", user_id, session_id=session_id)
        has_ended = await self._sessions.end(session_id, user_id, effects) is not None
        self._revocations.add([session_id])
        return has_ended

    async def _end_all(
        self,
        context: Context,
        user_id: str,
        *,
        kept: str | None = None,
        only_with: str | None = None,
        keys: bool = False,
    ) -> None:
        """End the sessions of an account except `kept`, if `only_with` is active, and with `keys` its API keys."""
        effects = self._entry(context, "session.ended", user_id, sessions="all" if kept is None else "others")
        if keys:
            effects = [*effects, *end_of_api_keys(context, user_id)]
        ended = await self._sessions.end_all(user_id, keep_session=kept, only_with=only_with, effects=effects)
        self._revocations.add(ended)
        if keys:
            self._revocations.account_changed(user_id)

    def _entry(self, context: Context, action: audit.Action, user_id: str, **details: str) -> Effects:
        """Return an audit entry about a session, as an effect.

        Its target is the account, so that deleting the account clears the entry's address.
        """
        return [audit.entry(context, action, "user", user_id, **details)]

    def _genuine(self, text: str) -> RefreshToken:
        token = self._refresh_tokens.parse(text)
        if token is None:
            raise Unauthenticated("This is not a refresh token of this server")
        return token

    def _grant(self, user: User, session: Session, token: RefreshToken) -> Grant:
        access_token = self._access_tokens.issue(user.id, session.id, user.roles)
        return Grant(access_token, self._access_tokens.lifetime, token.text, session, user)
