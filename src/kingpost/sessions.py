"""Signing in and out: sessions, their tokens, and who is calling."""

from collections.abc import Sequence

import msgspec

from kingpost import clock
from kingpost.emails import InvalidEmail, address
from kingpost.model import Principal, Session, User
from kingpost.passwords import PasswordHasher
from kingpost.problems import Forbidden, InvalidCredentials, NotFound, Unauthenticated
from kingpost.refresh_tokens import RefreshToken, RefreshTokens
from kingpost.revocations import Revocations
from kingpost.storage import Sessions as StoredSessions
from kingpost.storage import Users
from kingpost.tokens import AccessTokens, VerifiedTokens

DAY = 24 * 60 * 60
IDLE_LIFETIME = 30 * DAY
ABSOLUTE_LIFETIME = 90 * DAY
REUSE_WINDOW = 10
"""Seconds in which a refresh token may be sent again, because the first answer was lost."""


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
        users: Users,
        sessions: StoredSessions,
        hasher: PasswordHasher,
        access_tokens: AccessTokens,
        refresh_tokens: RefreshTokens,
        revocations: Revocations,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._hasher = hasher
        self._access_tokens = access_tokens
        self._refresh_tokens = refresh_tokens
        self._revocations = revocations
        self._verified = VerifiedTokens()

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
        return self._revocations.present(verified.principal) or await self._revocations.look_up(verified.principal)

    async def login(self, email: str, password: str, device: str | None, client_address: str | None) -> Grant:
        """Start a session.

        Raises:
            InvalidCredentials: unknown address, wrong password, or a suspended account; nothing tells which.
            Unavailable: too many logins are waiting.
        """
        try:
            credentials = await self._users.find_credentials(address(email).key)
        except InvalidEmail:
            credentials = None
        # An unknown address costs a hash as well, so that time does not tell either.
        right = await self._hasher.verify(credentials.password_hash if credentials else None, password)
        if credentials is None or not right or credentials.user.status != "active":
            raise InvalidCredentials()
        session_id, now = clock.new_id()
        session = Session(
            session_id, credentials.user.id, device, client_address, now, now, clock.after(ABSOLUTE_LIFETIME)
        )
        token = self._refresh_tokens.first(session_id)
        await self._sessions.create(session, token.hash, credentials.password_hash)
        return self._grant(credentials.user, session, token)

    async def refresh(self, text: str) -> Grant:
        """Exchange a refresh token for a new pair.

        Raises:
            Unauthenticated: the token is forged, used before (then its session ends) or expired.
        """
        token = self._genuine(text)
        successor = self._refresh_tokens.successor(token)
        rotation = await self._sessions.rotate(
            token.session_id,
            token.hash,
            successor.hash,
            at=clock.now(),
            not_before=clock.after(-REUSE_WINDOW),
            idle_since=clock.after(-IDLE_LIFETIME),
        )
        if rotation is None:
            self._revocations.add([token.session_id])
            raise Unauthenticated("The refresh token has been used or has expired, and its session has ended")
        return self._grant(rotation.user, rotation.session, successor)

    async def logout(self, principal: Principal, *, everywhere: bool) -> None:
        """End the caller's session, or all sessions of its account."""
        if everywhere:
            self._revocations.add(await self._sessions.end_all(principal.user_id))
        else:
            await self._sessions.end(principal.own_session, principal.user_id)
        self._revocations.add([principal.own_session])

    async def logout_with(self, text: str, *, everywhere: bool) -> None:
        """End the session of a refresh token, whether it is alive or not.

        Raises:
            Unauthenticated: the token is forged.
        """
        token = self._genuine(text)
        user_id = await self._sessions.end(token.session_id, None)
        self._revocations.add([token.session_id])
        if everywhere and user_id is not None:
            self._revocations.add(await self._sessions.end_all(user_id))

    async def list(self, principal: Principal) -> Sequence[Session]:
        """The caller's living sessions, latest use first."""
        return await self._sessions.list(principal.user_id, clock.now(), clock.after(-IDLE_LIFETIME))

    async def end(self, principal: Principal, session_id: str) -> None:
        """End one of the caller's sessions.

        Raises:
            NotFound: there is no such living session.
            Forbidden: it is another's.
        """
        if await self._sessions.end(session_id, principal.user_id) is None:
            # Ids cannot be guessed, so a missing session may say so.
            raise Forbidden() if await self._sessions.is_alive(session_id, clock.now()) else NotFound()
        self._revocations.add([session_id])

    async def sweep(self) -> None:
        """Drop the sessions that nobody can use any more."""
        await self._sessions.forget_expired(clock.after(-DAY))

    def _genuine(self, text: str) -> RefreshToken:
        token = self._refresh_tokens.parse(text)
        if token is None:
            raise Unauthenticated("This is not a refresh token of this server")
        return token

    def _grant(self, user: User, session: Session, token: RefreshToken) -> Grant:
        access_token = self._access_tokens.issue(user.id, session.id, user.roles)
        return Grant(access_token, self._access_tokens.lifetime, token.text, session, user)
