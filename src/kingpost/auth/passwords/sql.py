"""Password hashes on SQL."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Select, bindparam, delete, literal, select, update

from kingpost.accounts.one_time_tokens.tables import delete_tokens_of_change, one_time_tokens
from kingpost.accounts.users.tables import NO_PENDING_CHANGE, USER, user_of, users
from kingpost.auth.passwords.store import Credentials, RequireProof
from kingpost.auth.second_factor.tables import second_factors
from kingpost.auth.sessions.tables import end_sessions
from kingpost.model import User
from kingpost.problems import Forbidden, NotFound
from kingpost.storage.database import Database, Script, Statement
from kingpost.storage.effects import NO_EFFECTS, Effects
from kingpost.storage.writes import Kind, Parameters, Writes


def _is_still_proved(row: Parameters) -> Select[Any]:
    is_confirmed = second_factors.c.user_id == users.c.id, second_factors.c.confirmed_at.is_not(None)
    factor = select(second_factors.c.sealed).where(*is_confirmed).scalar_subquery()
    same = users.c.password_hash == row.password_hash, factor.is_not_distinct_from(row.second_factor)
    return select(users.c.id).where(users.c.id == row.user_id, *same).with_for_update(read=True, of=users)


KINDS: Mapping[type, Kind[Any]] = {
    RequireProof: Kind[RequireProof](
        row=msgspec.structs.astuple,
        parameters=lambda shape: {
            "user_id": users.c.id.type,
            "password_hash": users.c.password_hash.type,
            "second_factor": second_factors.c.sealed.type,
        },
        build=_is_still_proved,
        returning=[users.c.id],
        refusal=lambda: Forbidden(
            "The password or the second factor has changed since it was checked, and nothing else was changed: "
            "send the present ones"
        ),
    )
}


class SQLCredentials:
    """`kingpost.auth.passwords.store.CredentialStore` on SQL."""

    def __init__(self, database: Database, writes: Writes) -> None:
        self._database = database
        self._writes = writes
        dialect = database.dialect
        by_key = select(*USER, users.c.password_hash).where(users.c.email_key == bindparam("email_key"))
        self._find = Statement(select(*USER).where(users.c.id == bindparam("id")), dialect)
        account = select(users.c.id).where(users.c.id == bindparam("user_id"))
        self._lock_account = Statement(account.with_for_update(key_share=True), dialect)
        self._find_credentials = Statement(by_key, dialect)
        self._find_hash = Statement(select(users.c.password_hash).where(users.c.id == bindparam("id")), dialect)
        self._set_hash = Statement(
            update(users)
            .where(users.c.id == bindparam("user_id"))
            .values(
                password_hash=bindparam("hash"),
                updated_at=bindparam("at", type_=users.c.updated_at.type),
                version=users.c.version + 1,
                **NO_PENDING_CHANGE,
            ),
            dialect,
        )
        # A person who knew the old password may have requested a change of address, and not confirmed it yet.
        self._kill_tokens_of_change = Statement(delete_tokens_of_change(), dialect)
        is_reset = one_time_tokens.c.purpose == literal("reset-password")
        is_theirs = one_time_tokens.c.user_id == bindparam("user_id")
        self._kill_reset = Statement(delete(one_time_tokens).where(is_theirs, is_reset), dialect)
        same_hash = users.c.id == bindparam("user_id"), users.c.password_hash == bindparam("old_hash")
        upgraded = update(users).where(*same_hash).values(password_hash=bindparam("new_hash")).returning(users.c.id)
        self._upgrade_hash = Statement(upgraded, dialect)
        self._end_sessions = Statement(end_sessions(), dialect)

    async def find(self, user_id: str) -> User | None:
        rows = await self._database.read(self._find(id=user_id))
        return user_of(rows[0]) if rows else None

    async def find_credentials(self, email_key: str) -> Credentials | None:
        rows = await self._database.read(self._find_credentials(email_key=email_key))
        return Credentials(user_of(rows[0]), rows[0][-1]) if rows else None

    async def find_password_hash(self, user_id: str) -> str | None:
        rows = await self._database.read(self._find_hash(id=user_id))
        return rows[0][0] if rows else None

    async def change_password(
        self, user_id: str, password_hash: str, at: str, keep_session: str | None, effects: Effects = NO_EFFECTS
    ) -> Sequence[str]:
        def script() -> Script[Sequence[str]]:
            if not (yield self._lock_account(user_id=user_id)):
                raise NotFound()
            # First, because a proof is compared with the hash that this replaces.
            yield from self._writes.steps(effects)
            yield self._set_hash(user_id=user_id, hash=password_hash, at=at)
            yield self._kill_tokens_of_change(user_id=user_id)
            yield self._kill_reset(user_id=user_id)
            ended = yield self._end_sessions(user_id=user_id, kept=keep_session)
            return [row[0] for row in ended]

        return await self._writes.transact(script, effects)

    async def upgrade_password_hash(self, user_id: str, old_hash: str, new_hash: str) -> None:
        await self._database.write(self._upgrade_hash(user_id=user_id, old_hash=old_hash, new_hash=new_hash))
