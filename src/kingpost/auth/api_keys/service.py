"""API keys: credentials that machines send instead of an access token."""

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
from kingpost.auth.passwords.proof import Reauthentication
from kingpost.mail import Messages
from kingpost.model import Context, Principal
from kingpost.problems import Fault, Forbidden, InvalidRequest, NotFound, Unauthenticated, Unavailable
from kingpost.secret import MasterSecret

MAX_KEYS = 100
"""Keys per account, including expired ones."""
CACHE_LIFETIME = 0.5
"""Seconds for which the owner of a key is cached, so that a revocation takes effect on all nodes within a second."""
MAX_CACHED = 10_000
"""Keys in the cache of a process."""

logger = logging.getLogger("kingpost.api_keys")


class NewAPIKey(msgspec.Struct, frozen=True):
    """The values of a new key, not validated. `expires_at` is RFC 3339 with any offset, or None for one year."""

    name: str
    scopes: Sequence[Scope]
    expires_at: str | None = None


class _CachedCaller(msgspec.Struct, frozen=True, gc=False):
    """The caller that a key stands for, and the monotonic time at which this cache entry expires."""

    principal: Principal
    expires_at: float


class APIKeys:
    """Creates, lists and revokes keys, and authenticates callers with them.

    A key grants the present permissions of its owner, limited to its scopes. Each process looks up a key at most
    twice a second and caches the result by the text of the key. Unknown keys are not cached.
    """

    def __init__(
        self,
        stored: APIKeyStore,
        users: UserStore,
        reauthentication: Reauthentication,
        messages: Messages,
        secret: MasterSecret,
        *,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stored = stored
        self._users = users
        self._reauthentication = reauthentication
        self._messages = messages
        self._hash_key = secret.derive("api-keys")
        self._seconds = seconds
        self._cache: dict[str, _CachedCaller] = {}
        self._lookups: dict[str, asyncio.Task[Principal]] = {}

    async def create(self, context: Context, new: NewAPIKey, password: str, otp: str | None) -> tuple[APIKey, str]:
        """Create a key for the caller; return its record, and the key itself, which is not stored.

        The owner is notified by mail, because a key that was created with a stolen session outlives that session.
        Any scope but `users:admin` is allowed, even if the caller's roles do not permit its actions: scopes only
        restrict a key.

        Raises:
            InvalidRequest: a scope is listed twice, `expires_at` is not a time within the next year, or the code is
                missing.
            Forbidden: the scope `users:admin` is asked for by a caller who is not an administrator, or the proof is
                wrong, as for `Reauthentication.prove`.
            RateLimited: as for `Reauthentication.prove`.
            Conflict: the account has `MAX_KEYS` keys.
            Unauthenticated: the account is gone, or the caller's session ended meanwhile.
        """
        faults = [*self.faults(new), *await self._reauthentication.faults(context, otp)]
        if faults:
            raise InvalidRequest.of(*faults)
        principal = context.caller
        if "users:admin" in new.scopes and not principal.is_admin:
            raise Forbidden("Only administrators can create an API key with the scope users:admin")
        owner = await self._users.find(principal.user_id)
        if owner is None:
            raise Unauthenticated("The account is gone")
        proof = await self._reauthentication.prove(context, password, otp)
        text = key_format.new_key()
        key_id, now = clock.new_id()
        latest = clock.a_year_after(now)
        # Time has passed since `faults` looked at the clock, so that this expiry may be later than a year from then.
        expires_at = latest if new.expires_at is None else min(latest, clock.read(new.expires_at))
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
        await self._stored.create(key, self._hash(text), MAX_KEYS, [entry, notice, *proof])
        return key, text

    def faults(self, new: NewAPIKey) -> Iterable[Fault]:
        """Yield the rules that a new key breaks."""
        if len(set(new.scopes)) < len(new.scopes):
            yield Fault("A scope is listed twice", "uniqueItems", pointer="/scopes")
        if new.expires_at is not None:
            try:
                expires_at, now = clock.read(new.expires_at), clock.now()
            except ValueError:
                detail = "This must be an RFC 3339 time, such as 2026-11-22T10:15:30Z"
                yield Fault(detail, "time", pointer="/expires_at")
            else:
                if expires_at <= now:
                    yield Fault("This time must be in the future", "past", pointer="/expires_at")
                elif expires_at > (latest := clock.a_year_after(now)):
                    detail = f"A key lives for a year at most: send a time until {latest}, or none for one year"
                    yield Fault(detail, "too_late", pointer="/expires_at")

    async def list(self, user_id: str) -> Sequence[APIKey]:
        """Return an account's keys, newest first, including expired ones."""
        return await self._stored.list(user_id)

    async def export(self, user_id: str) -> Sequence[ExportedKey]:
        """Return an account's keys, oldest first, for its export."""
        return [ExportedKey.of(key) for key in reversed(await self._stored.list(user_id))]

    async def revoke(self, context: Context, key_id: str) -> None:
        """Delete one of the caller's keys, or any key if the caller is an administrator.

        Raises:
            NotFound: no key has this id.
            Forbidden: the key belongs to another account.
        """
        owner_id = await self._stored.find_owner(key_id)
        if owner_id is None:
            raise NotFound()
        if not context.caller.may_manage(owner_id):
            # Ids cannot be guessed, so telling 404 from 403 reveals nothing.
            raise Forbidden()
        entry = audit.entry(context, "api_key.revoked", "api_key", key_id, user_id=owner_id)
        if not await self._stored.delete(key_id, [entry]):
            raise NotFound()
        self.forget(owner_id)

    async def authenticate(self, text: str) -> Principal:
        """Return the caller that a key stands for.

        Raises:
            Unauthenticated: the key is malformed, unknown, expired or revoked, or its owner is suspended or gone.
            Unavailable: the database does not answer.
        """
        cached = self._cache.get(text)
        if cached is not None and cached.expires_at > self._seconds():
            return cached.principal
        if not key_format.is_well_formed(text):
            raise Unauthenticated("The API key is malformed")
        # Concurrent calls with one key share one look-up.
        lookup = self._lookups.get(text)
        if lookup is None:
            lookup = self._lookups[text] = asyncio.create_task(self._look_up(text))
            lookup.add_done_callback(lambda task: self._looked_up(text, task))
        # Shielded: one caller's cancellation must not cancel the shared look-up.
        return await asyncio.shield(lookup)

    def forget(self, user_id: str) -> None:
        """Evict the keys of an account from the cache, because the account or its keys have changed."""
        for text in [text for text, cached in self._cache.items() if cached.principal.user_id == user_id]:
            del self._cache[text]
        # Running look-ups may return the state before the change, so new callers must not join them.
        self._lookups.clear()

    async def _look_up(self, text: str) -> Principal:
        started, now = self._seconds(), clock.now()
        found = await self._stored.find(self._hash(text), now)
        if found is None:
            raise Unauthenticated("The API key is unknown, expired or revoked, or its owner is suspended")
        key, user = found
        principal = Principal(user.id, None, frozenset(user.roles), key.id, frozenset(key.scopes))
        # A look-up that `forget` has dropped must not fill the cache.
        if self._lookups.get(text) is asyncio.current_task():
            self._remember(text, _CachedCaller(principal, started + CACHE_LIFETIME))
        if key.last_used_at is None or key.last_used_at <= clock.shifted(now, -USE_IS_NOTED_EVERY):
            await self._note_use(key.id, now)
        return principal

    async def _note_use(self, key_id: str, now: str) -> None:
        try:
            await self._stored.note_use(key_id, now)
        except Unavailable:
            # The last use is informational: the request succeeds without it.
            logger.warning("cannot store the last use of the API key %s", key_id)

    def _looked_up(self, text: str, task: asyncio.Task[Principal]) -> None:
        if self._lookups.get(text) is task:
            del self._lookups[text]
        # Retrieve the exception: asyncio warns about one that was never retrieved if all callers were cancelled.
        if not task.cancelled():
            task.exception()

    def _remember(self, text: str, cached: _CachedCaller) -> None:
        """Cache the caller of a key; evict expired entries, and the oldest entry if the cache is full."""
        self._cache.pop(text, None)
        self._cache[text] = cached
        while True:
            oldest = next(iter(self._cache))
            if len(self._cache) <= MAX_CACHED and self._cache[oldest].expires_at > self._seconds():
                return
            del self._cache[oldest]

    def _hash(self, text: str) -> bytes:
        """Return the HMAC-SHA256 of a key. Without the master secret, the database cannot be used to check guesses."""
        return hmac.digest(self._hash_key, text.encode(), "sha256")
