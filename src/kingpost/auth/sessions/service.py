"""Signing in and out: sessions, their tokens, and who is calling."""

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
from kingpost.auth.second_factor.service import SecondFactors
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
"""Seconds in which a refresh token may be sent again, because the first answer was lost."""

type Refusal = Literal["password", "status", "second_factor"]
"""Why a login was refused: for the audit log, and never for who tried."""

logger = logging.getLogger("kingpost.sessions")


class Grant(msgspec.Struct, frozen=True):
    """What a client gets when it signs in or refreshes. `expires_in` is in seconds."""

    access_token: str
    expires_in: int
    refresh_token: str
    session: Session
    user: User


class Sessions:
    """Starts, continues and ends sessions, and tells who is calling."""

    def __init__(
        self,
        credentials: CredentialStore,
        users: UserStore,
        sessions: SessionStore,
        audit_log: AuditStore,
        hasher: PasswordHasher,
        throttle: Throttle,
        second_factors: SecondFactors,
        access_tokens: AccessTokens,
        refresh_tokens: RefreshTokens,
        revocations: Revocations,
        *,
        verified_only: bool,
    ) -> None:
        """`verified_only` keeps out accounts whose address has not been confirmed."""
        self._users = users
        self._credentials = credentials
        self._sessions = sessions
        self._audit_log = audit_log
        self._hasher = hasher
        self._throttle = throttle
        self._second_factors = second_factors
        self._verified_only = verified_only
        self._access_tokens = access_tokens
        self._refresh_tokens = refresh_tokens
        self._revocations = revocations
        self._verified = VerifiedTokens()
        access_tokens.when_keys_go(self._verified.forget)

    async def authenticate(self, token: str) -> Principal:
        """Tell who holds an access token.

        Raises:
            Unauthenticated: the token is malformed, forged or expired, or its session has ended.
            Unavailable: whether its session has ended cannot be found out.
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
            InvalidCredentials: unknown address, wrong password, wrong or used code, or an account that is suspended
                or not verified where it must be; nothing tells which.
            MfaRequired: all is right, but the code of the second factor is missing.
            RateLimited: there were too many failed tries.
            Unavailable: too many logins are waiting.
        """
        try:
            key, is_address = address(email).key, True
        except InvalidEmail:
            key, is_address = email, False
        async with self._throttle.password(key, context.origin.address) as attempt:
            credentials = await self._credentials.find_credentials(key) if is_address else None
            # An unknown address costs a hash as well, so that time does not tell either.
            right = await self._hasher.verify(credentials.password_hash if credentials else None, password)
            if credentials is None or not right:
                raise await self._refused(context, credentials, "password")
            user = credentials.user
            if user.status != "active" or (self._verified_only and not user.email_verified):
                raise await self._refused(context, credentials, "status")
            factor = await self._second_factors.find(user.id)
            if factor is not None and not otp:
                raise MfaRequired()
            if factor is not None and not await self._second_factors.passes(context, factor, otp or ""):
                raise await self._refused(context, credentials, "second_factor")
            attempt.succeed()
        grant = await self._start(context, credentials, password, factor)
        await self._upgrade_hash(credentials, password)
        return grant

    async def _refused(self, context: Context, credentials: Credentials | None, reason: Refusal) -> InvalidCredentials:
        """The answer to a login, after it was noted: one insert, whether there is such an account or not."""
        user_id = None if credentials is None else credentials.user.id
        await self._audit_log.add(audit.entry(context, "session.refused", "user", user_id, reason=reason))
        return InvalidCredentials()

    async def _start(
        self, context: Context, credentials: Credentials, password: str, factor: SecondFactor | None
    ) -> Grant:
        """Store a session, if what the login was checked against still holds.

        Raises:
            InvalidCredentials: it does not.
        """
        user = credentials.user
        session_id, now = clock.new_id()
        expires_at = clock.after(ABSOLUTE_LIFETIME)
        origin = context.origin
        session = Session(session_id, user.id, origin.device, origin.address, now, now, expires_at)
        token = self._refresh_tokens.first(session_id)
        signed_in = Context(Principal(user.id, session_id, frozenset(user.roles)), origin)
        told = self._entry(signed_in, "session.started", user.id, session_id=session_id)
        sealed = None if factor is None else factor.sealed
        try:
            await self._sessions.create(session, token.hash, credentials.password_hash, told, second_factor=sealed)
        except Unauthenticated:
            # Another login may have upgraded the hash of this same password meanwhile.
            present = await self._credentials.find_password_hash(user.id)
            if present == credentials.password_hash or not await self._hasher.verify(present, password):
                raise InvalidCredentials() from None
            try:
                await self._sessions.create(session, token.hash, present, told, second_factor=sealed)
            except Unauthenticated:
                raise InvalidCredentials() from None
        return self._grant(user, session, token)

    async def _upgrade_hash(self, credentials: Credentials, password: str) -> None:
        """Hash the password anew, if that is done with other parameters today. A login never fails for it."""
        if not self._hasher.needs_rehash(credentials.password_hash):
            return
        try:
            new = await self._hasher.hash(password)
            await self._credentials.upgrade_password_hash(credentials.user.id, credentials.password_hash, new)
        except Exception:
            logger.exception("the password hash of %s could not be upgraded", credentials.user.id)

    async def refresh(self, context: Context, text: str) -> Grant:
        """Exchange a refresh token for a new pair.

        Raises:
            Unauthenticated: the token is forged, used before (then its session ends) or expired.
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
            not_before=clock.after(-REUSE_WINDOW),
            idle_since=clock.after(-IDLE_LIFETIME),
            if_reused=reused,
        )
        if rotation is None:
            self._revocations.add([token.session_id])
            raise Unauthenticated("The refresh token has been used or has expired, and its session has ended")
        return self._grant(rotation.user, rotation.session, successor)

    async def logout(self, context: Context, *, everywhere: bool) -> None:
        """End the caller's session, or all sessions of its account."""
        caller = context.caller
        if everywhere:
            await self._end_all(context, caller.user_id)
        else:
            await self._end(context, caller.own_session, caller.user_id)
        self._revocations.add([caller.own_session])

    async def logout_with(self, context: Context, text: str, *, everywhere: bool) -> None:
        """End the session of a refresh token, whether it is alive or not.

        Raises:
            Unauthenticated: the token is forged.
        """
        token = self._genuine(text)
        session = await self._sessions.find(token.session_id)
        if session is not None:
            # Who holds the token acts for the account. Once its session is over it speaks for nobody.
            owner = Context(Principal(session.user_id, session.id, frozenset()), context.origin)
            if await self._end(owner, session.id, session.user_id) and everywhere:
                await self._end_all(owner, session.user_id)
        self._revocations.add([token.session_id])

    async def list(self, user_id: str) -> Sequence[Session]:
        """An account's living sessions, latest use first."""
        return await self._sessions.list(user_id, clock.now(), clock.after(-IDLE_LIFETIME))

    async def list_of(self, principal: Principal, user_id: str) -> Sequence[Session]:
        """The same, for whoever may read the account.

        Raises:
            Forbidden: it is neither the caller's own nor is the caller an administrator.
            NotFound: there is no such account.
        """
        await self._check_account(principal, user_id)
        return await self.list(user_id)

    async def end(self, context: Context, session_id: str) -> None:
        """End one of the caller's sessions; an administrator may end anybody's.

        Raises:
            NotFound: there is no such living session.
            Forbidden: it is another's.
        """
        session = await self._sessions.find(session_id)
        if session is None:
            raise NotFound()
        if not context.caller.may_manage(session.user_id):
            # Ids cannot be guessed, so a missing session may say so.
            raise Forbidden()
        if not await self._end(context, session_id, session.user_id):
            raise NotFound()

    async def end_others(self, context: Context) -> None:
        """End all of the caller's sessions but the one that asks."""
        caller = context.caller
        await self._end_all(context, caller.user_id, kept=caller.own_session)

    async def end_all_of(self, context: Context, user_id: str) -> None:
        """End all sessions of an account. Raises as `list_of` does."""
        await self._check_account(context.caller, user_id)
        await self._end_all(context, user_id)

    async def sweep(self) -> None:
        """Drop the sessions that nobody can use any more."""
        await self._sessions.forget_expired(clock.after(-DAY))

    async def _check_account(self, principal: Principal, user_id: str) -> None:
        if await self._users.find(user_id) is None:
            raise NotFound()
        if not principal.may_manage(user_id):
            raise Forbidden()

    async def _end(self, context: Context, session_id: str, user_id: str) -> bool:
        """End one session; tell whether this call did."""
        told = self._entry(context, "session.ended", user_id, session_id=session_id)
        has_ended = await self._sessions.end(session_id, user_id, told) is not None
        self._revocations.add([session_id])
        return has_ended

    async def _end_all(self, context: Context, user_id: str, kept: str | None = None) -> None:
        told = self._entry(context, "session.ended", user_id, sessions="all" if kept is None else "others")
        self._revocations.add(await self._sessions.end_all(user_id, keep_session=kept, effects=told))

    def _entry(self, context: Context, action: audit.Action, user_id: str, **details: str) -> Effects:
        """An entry about a session. It is the account's: with that, the addresses in it are forgotten."""
        return [audit.entry(context, action, "user", user_id, **details)]

    def _genuine(self, text: str) -> RefreshToken:
        token = self._refresh_tokens.parse(text)
        if token is None:
            raise Unauthenticated("This is not a refresh token of this server")
        return token

    def _grant(self, user: User, session: Session, token: RefreshToken) -> Grant:
        access_token = self._access_tokens.issue(user.id, session.id, user.roles)
        return Grant(access_token, self._access_tokens.lifetime, token.text, session, user)
