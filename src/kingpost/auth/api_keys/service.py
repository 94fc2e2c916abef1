"""API keys: what machines send in the place of an access token."""

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from kingpost import audit, clock
from kingpost.accounts.users.store import UserStore
from kingpost.auth.api_keys import key_format
from kingpost.auth.api_keys.schemas import ExportedKey
from kingpost.auth.api_keys.scopes import Scope
from kingpost.auth.api_keys.store import USE_IS_NOTED_EVERY, APIKey, APIKeyStore
from kingpost.auth.revocations.store import RequireSession
from kingpost.mail import Messages
from kingpost.model import Context, Principal
from kingpost.problems import Fault, Forbidden, InvalidRequest, NotFound, Unauthenticated, Unavailable
from kingpost.secret import MasterSecret

MOST_KEYS = 100
"""Keys that an account may have, expired ones included."""
BELIEVED_FOR = 0.5
"""Seconds for which what was found out about a key is believed; with it, a second is kept on all nodes."""
MOST_REMEMBERED = 10_000

logger = logging.getLogger("kingpost.api_keys")


class NewAPIKey(msgspec.Struct, frozen=True):
    """What whoever creates a key wants. `expires_at` is RFC 3339 with any offset; None is never."""

    name: str
    scopes: Sequence[Scope]
    expires_at: str | None = None


class _Known(msgspec.Struct, frozen=True, gc=False):
    """Whom a key stood for when it was looked up, and until when that is believed."""

    principal: Principal
    until: float


class APIKeys:
    """Creates, lists and revokes keys, and tells whose they are.

    A key can do what its owner may at this moment and its scopes name. Each process asks the database for that
    twice a second at most and remembers it by the text of the key; unknown keys are remembered nowhere.
    """

    def __init__(
        self,
        stored: APIKeyStore,
        users: UserStore,
        messages: Messages,
        secret: MasterSecret,
        *,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stored = stored
        self._users = users
        self._messages = messages
        self._hash_key = secret.derive("api-keys")
        self._seconds = seconds
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[Principal]] = {}

    async def create(self, context: Context, new: NewAPIKey) -> tuple[APIKey, str]:
        """Make a key for the caller; return what is kept of it, and the key itself, which nobody sees again.

        The account's owner is told by mail: a key would outlive the session of whoever stole that.
        Scopes that the caller's roles leave nothing to do with are fine: they only ever take away.

        Raises:
            InvalidRequest: a scope stands there twice, or `expires_at` is no time in the future.
            Conflict: the account has too many.
            Unauthenticated: the account is gone.
        """
        faults = list(self.faults(new))
        if faults:
            raise InvalidRequest.of(*faults)
        principal = context.caller
        owner = await self._users.find(principal.user_id)
        if owner is None:
            raise Unauthenticated("The account is gone")
        text = key_format.new_key()
        key_id, now = clock.new_id()
        expires_at = None if new.expires_at is None else clock.read(new.expires_at)
        key = APIKey(
            id=key_id,
            user_id=principal.user_id,
            name=new.name,
            scopes=tuple(new.scopes),
            hint=key_format.hint(text),
            created_at=now,
            expires_at=expires_at,
            last_used_at=None,
        )
        details = {"scopes": key.scopes, "expires_at": expires_at}
        entry = audit.entry(context, "api_key.created", "api_key", key_id, **details)
        notice = self._messages.job("api-key-created", owner.email, owner.id, hint=key.hint)
        effects: list[msgspec.Struct] = [entry, notice]
        if principal.session_id is not None:
            effects.append(RequireSession(principal.session_id))
        await self._stored.create(key, self._hash(text), MOST_KEYS, effects)
        return key, text

    def faults(self, new: NewAPIKey) -> Iterable[Fault]:
        """The rules that a new key breaks."""
        if len(set(new.scopes)) < len(new.scopes):
            yield Fault("A scope stands here twice", "uniqueItems", pointer="/scopes")
        if new.expires_at is not None:
            try:
                is_over = clock.read(new.expires_at) <= clock.now()
            except ValueError:
                yield Fault("This is not a time in the form of RFC 3339", "time", pointer="/expires_at")
            else:
                if is_over:
                    yield Fault("This time is over", "past", pointer="/expires_at")

    async def list(self, user_id: str) -> Sequence[APIKey]:
        """Return an account's keys, newest first, expired ones included."""
        return await self._stored.list(user_id)

    async def export(self, user_id: str) -> Sequence[ExportedKey]:
        """Return an account's keys, oldest first, for its export."""
        return [ExportedKey.of(key) for key in reversed(await self._stored.list(user_id))]

    async def revoke(self, context: Context, key_id: str) -> None:
        """Delete a key: one of the caller's own, or as an administrator anybody's.

        Raises:
            NotFound: there is no such key.
            Forbidden: it is another's.
        """
        owner_id = await self._stored.find_owner(key_id)
        if owner_id is None:
            raise NotFound()
        if not context.caller.may_manage(owner_id):
            # Ids cannot be guessed, so a missing key may say so.
            raise Forbidden()
        entry = audit.entry(context, "api_key.revoked", "api_key", key_id, user_id=owner_id)
        if not await self._stored.delete(key_id, [entry]):
            raise NotFound()
        self.forget(owner_id)

    async def authenticate(self, text: str) -> Principal:
        """Tell who calls with a key.

        Raises:
            Unauthenticated: the key is malformed, unknown, expired or revoked, or its owner is suspended or gone.
            Unavailable: the database does not answer.
        """
        known = self._known.get(text)
        if known is not None and known.until > self._seconds():
            return known.principal
        if not key_format.is_well_formed(text):
            raise Unauthenticated("The API key is malformed")
        # Of a thousand calls that come with one key at the same moment one asks.
        asking = self._asking.get(text)
        if asking is None:
            asking = self._asking[text] = asyncio.create_task(self._ask(text))
            asking.add_done_callback(lambda task: self._asked(text, task))
        # Whoever hangs up leaves the others their answer.
        return await asyncio.shield(asking)

    def forget(self, user_id: str) -> None:
        """Believe nothing about an account's keys any more: it, or they, have just changed."""
        for text in [text for text, known in self._known.items() if known.principal.user_id == user_id]:
            del self._known[text]
        # Whatever is being asked may have been answered before the change: nobody else shall believe that.
        self._asking.clear()

    async def _ask(self, text: str) -> Principal:
        started, now = self._seconds(), clock.now()
        found = await self._stored.find(self._hash(text), now)
        if found is None:
            raise Unauthenticated("The API key is unknown, expired or revoked, or its owner is suspended")
        key, user = found
        principal = Principal(user.id, None, frozenset(user.roles), key.id, frozenset(key.scopes))
        if self._asking.get(text) is asyncio.current_task():
            self._remember(text, _Known(principal, started + BELIEVED_FOR))
        if key.last_used_at is None or key.last_used_at <= clock.shifted(now, -USE_IS_NOTED_EVERY):
            await self._note_use(key.id, now)
        return principal

    async def _note_use(self, key_id: str, now: str) -> None:
        try:
            await self._stored.note_use(key_id, now)
        except Unavailable:
            # The call itself may do without writing.
            logger.warning("the last use of the API key %s could not be noted", key_id)

    def _asked(self, text: str, task: asyncio.Task[Principal]) -> None:
        if self._asking.get(text) is task:
            del self._asking[text]
        # Looked at here, so that asyncio does not complain where nobody is left to hear of it.
        if not task.cancelled():
            task.exception()

    def _remember(self, text: str, known: _Known) -> None:
        """Keep what is known of a key, and drop what is believed no longer, or the oldest if there is no room."""
        self._known.pop(text, None)
        self._known[text] = known
        while True:
            oldest = next(iter(self._known))
            if len(self._known) <= MOST_REMEMBERED and self._known[oldest].until > self._seconds():
                return
            del self._known[oldest]

    def _hash(self, text: str) -> bytes:
        """What is stored: HMAC-SHA256 of the key, so that the database alone cannot even tell a key from a guess."""
        return hmac.digest(self._hash_key, text.encode(), "sha256")
