"""API keys on SQL."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam, delete, func, insert, literal, or_, select, update

from kingpost import clock
from kingpost.accounts.users.tables import USER, user_of, users
from kingpost.auth.api_keys.store import USE_IS_NOTED_EVERY, APIKey
from kingpost.auth.api_keys.tables import api_keys
from kingpost.model import User
from kingpost.problems import Conflict, Unauthenticated
from kingpost.storage.columns import Identifier, Time
from kingpost.storage.database import Database, Row, Script, Statement
from kingpost.storage.effects import NO_EFFECTS, Effects
from kingpost.storage.owned import Owned
from kingpost.storage.writes import Writes

COLUMNS = [api_keys.c[field] for field in APIKey.__struct_fields__]


class SQLAPIKeys:
    """`kingpost.auth.api_keys.store.APIKeyStore` on SQL."""

    def __init__(self, database: Database, writes: Writes) -> None:
        self._database = database
        self._writes = writes
        dialect = database.dialect
        is_active = users.c.status == literal("active")
        active_account = select(users.c.id).where(users.c.id == bindparam("user_id"), is_active)
        # Creations of keys wait for each other here, so that each counts what the others have stored.
        self._lock_active_account = Statement(active_account.with_for_update(key_share=True), dialect)
        is_theirs = api_keys.c.user_id == bindparam("user_id")
        self._count = Statement(select(func.count()).select_from(api_keys).where(is_theirs), dialect)
        created = [*COLUMNS, api_keys.c.key_hash]
        self._insert = Statement(insert(api_keys).values({c.name: bindparam(c.name) for c in created}), dialect)
        lives = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > bindparam("at", type_=Time))
        of_active_account = users.c.id == api_keys.c.user_id, is_active
        by_hash = api_keys.c.key_hash == bindparam("key_hash")
        self._find = Statement(select(*COLUMNS, *USER).where(by_hash, lives, *of_active_account), dialect)
        is_this = api_keys.c.id == bindparam("key_id")
        self._find_owner = Statement(select(api_keys.c.user_id).where(is_this), dialect)
        self._list = Statement(select(*COLUMNS).where(is_theirs).order_by(api_keys.c.id.desc()), dialect)
        last_used_at = api_keys.c.last_used_at
        is_due = or_(last_used_at.is_(None), last_used_at <= bindparam("a_while_ago", type_=Time))
        used = update(api_keys).where(is_this, is_due).values(last_used_at=bindparam("at", type_=Time))
        self._note_use = Statement(used, dialect)
        self._delete = Statement(delete(api_keys).where(is_this).returning(api_keys.c.id), dialect)

    async def create(self, key: APIKey, key_hash: bytes, most: int, effects: Effects = NO_EFFECTS) -> None:
        scopes = msgspec.json.encode(key.scopes).decode()
        columns = msgspec.structs.asdict(key) | {"scopes": scopes, "key_hash": key_hash}

        def script() -> Script[None]:
            if not (yield self._lock_active_account(user_id=key.user_id)):
                raise Unauthenticated("The account is gone or suspended")
            rows = yield self._count(user_id=key.user_id)
            if rows[0][0] >= most:
                raise Conflict(f"An account can have at most {most} API keys: revoke one first")
            yield self._insert(**columns)
            yield from self._writes.steps(effects)

        await self._writes.transact(script, effects)

    async def find(self, key_hash: bytes, at: str) -> tuple[APIKey, User] | None:
        rows = await self._database.read(self._find(key_hash=key_hash, at=at))
        key = _key_of(rows[0]) if rows else None
        return None if key is None or key.expires_at <= at else (key, user_of(rows[0][len(COLUMNS) :]))

    async def find_owner(self, key_id: str) -> str | None:
        rows = await self._database.read(self._find_owner(key_id=key_id))
        return rows[0][0] if rows else None

    async def list(self, user_id: str) -> Sequence[APIKey]:
        rows = await self._database.read(self._list(user_id=user_id))
        return [_key_of(row) for row in rows]

    async def note_use(self, key_id: str, at: str) -> None:
        a_while_ago = clock.shifted(at, -USE_IS_NOTED_EVERY)
        await self._database.write(self._note_use(key_id=key_id, at=at, a_while_ago=a_while_ago))

    async def delete(self, key_id: str, effects: Effects = NO_EFFECTS) -> bool:
        def script() -> Script[bool]:
            if not (yield self._delete(key_id=key_id)):
                return False
            yield from self._writes.steps(effects)
            return True

        return await self._writes.transact(script, effects)


def _key_of(row: Row) -> APIKey:
    """The key in a row that starts with `COLUMNS`."""
    key = APIKey(*row[: len(COLUMNS)])
    scopes = tuple(msgspec.json.decode(row[3], type=list[str]))
    # Earlier releases stored keys without an expiry.
    return msgspec.structs.replace(key, scopes=scopes, expires_at=key.expires_at or clock.a_year_after(key.created_at))


_THEIRS = delete(api_keys).where(api_keys.c.user_id == bindparam("user_id", type_=Identifier))
OWNED = Owned(delete=[_THEIRS], distrust=[_THEIRS.returning(api_keys.c.id)])
