"""Second factors and their recovery codes on SQL."""

from collections.abc import Sequence

from sqlalchemy import Executable, Integer, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from kingpost.accounts.users.tables import users
from kingpost.auth.second_factor.schemas import ExportedSecondFactor
from kingpost.auth.second_factor.store import SecondFactor
from kingpost.auth.second_factor.tables import recovery_codes, second_factors
from kingpost.problems import Conflict, Unauthenticated
from kingpost.storage.columns import Identifier, Time
from kingpost.storage.database import Database, Script, Statement
from kingpost.storage.effects import NO_EFFECTS, Effects
from kingpost.storage.owned import Owned
from kingpost.storage.writes import Writes

COLUMNS = [second_factors.c[field] for field in SecondFactor.__struct_fields__ if field in second_factors.c]


FAR_AHEAD = 20
"""Steps by which a used code is never ahead of a valid one: ten minutes, unless the clock has been set back since."""


class SQLSecondFactors:
    """`kingpost.auth.second_factor.store.SecondFactorStore` on SQL."""

    def __init__(self, database: Database, writes: Writes) -> None:
        self._database = database
        self._writes = writes
        dialect = database.dialect
        is_theirs = second_factors.c.user_id == bindparam("user_id")
        is_this = is_theirs, second_factors.c.sealed == bindparam("sealed")
        is_confirmed = second_factors.c.confirmed_at.is_not(None)
        is_their_code = recovery_codes.c.user_id == bindparam("user_id")
        left = select(func.count()).select_from(recovery_codes).where(is_their_code)
        self._begin = Statement(_begin(is_postgresql=dialect.name == "postgresql"), dialect)
        self._find = Statement(select(*COLUMNS, left.scalar_subquery()).where(is_theirs), dialect)
        account = select(users.c.id).where(users.c.id == bindparam("user_id"))
        self._lock_account = Statement(account.with_for_update(), dialect)
        confirmed = {"confirmed_at": bindparam("at", type_=Time), "last_step": bindparam("step")}
        self._confirm = Statement(
            update(second_factors).where(*is_this, ~is_confirmed).values(confirmed).returning(second_factors.c.user_id),
            dialect,
        )
        self._insert_code = Statement(
            insert(recovery_codes).values(user_id=bindparam("user_id"), code_hash=bindparam("code_hash")), dialect
        )
        last_step, step = second_factors.c.last_step, bindparam("step", type_=Integer)
        self._use_step = Statement(
            update(second_factors)
            .where(*is_this, is_confirmed, or_(last_step.is_(None), last_step < step, last_step > step + FAR_AHEAD))
            .values(last_step=step)
            .returning(last_step),
            dialect,
        )
        # Uses of codes wait for each other here, so that each counts what the others have left.
        self._lock = Statement(select(last_step).where(is_theirs, is_confirmed).with_for_update(), dialect)
        is_this_code = recovery_codes.c.code_hash == bindparam("code_hash")
        used = delete(recovery_codes).where(is_their_code, is_this_code).returning(recovery_codes.c.user_id)
        self._use_code = Statement(used, dialect)
        self._count_codes = Statement(left, dialect)
        confirmed_one = select(second_factors.c.user_id).where(is_theirs, is_confirmed)
        self._find_confirmed = Statement(confirmed_one, dialect)
        self._remove = Statement(delete(second_factors).where(is_theirs), dialect)
        self._remove_codes = Statement(delete(recovery_codes).where(is_their_code), dialect)

    async def begin(self, user_id: str, sealed: bytes, at: str, effects: Effects = NO_EFFECTS) -> None:
        def script() -> Script[None]:
            if not (yield self._lock_account(user_id=user_id)):
                raise Unauthenticated("The account is gone")
            if not (yield self._begin(user_id=user_id, sealed=sealed, created_at=at)):
                raise Conflict("This account has a second factor already: disable it first")
            yield from self._writes.steps(effects)

        await self._writes.transact(script, effects)

    async def find(self, user_id: str) -> SecondFactor | None:
        rows = await self._database.read(self._find(user_id=user_id))
        return SecondFactor(*rows[0]) if rows else None

    async def confirm(
        self,
        user_id: str,
        sealed: bytes,
        step: int,
        code_hashes: Sequence[bytes],
        at: str,
        effects: Effects = NO_EFFECTS,
    ) -> None:
        def script() -> Script[None]:
            # Starting a session also locks the account before it reads the second factor.
            yield self._lock_account(user_id=user_id)
            if not (yield self._confirm(user_id=user_id, sealed=sealed, step=step, at=at)):
                raise Conflict("This enrolment has been confirmed or replaced by another request")
            for code_hash in code_hashes:
                yield self._insert_code(user_id=user_id, code_hash=code_hash)
            yield from self._writes.steps(effects)

        await self._writes.transact(script, effects)

    async def use_step(self, user_id: str, sealed: bytes, step: int) -> bool:
        return bool(await self._database.write(self._use_step(user_id=user_id, sealed=sealed, step=step)))

    async def use_recovery_code(self, user_id: str, code_hash: bytes, effects: Effects = NO_EFFECTS) -> int | None:
        def script() -> Script[int | None]:
            yield self._lock(user_id=user_id)
            if not (yield self._use_code(user_id=user_id, code_hash=code_hash)):
                return None
            rows = yield self._count_codes(user_id=user_id)
            yield from self._writes.steps(effects)
            return int(rows[0][0])

        return await self._writes.transact(script, effects)

    async def remove(self, user_id: str, effects: Effects = NO_EFFECTS) -> bool:
        def script() -> Script[bool]:
            yield self._lock_account(user_id=user_id)
            if not (yield self._find_confirmed(user_id=user_id)):
                return False
            # First, because a proof is compared with the second factor that this removes.
            yield from self._writes.steps(effects)
            yield self._remove(user_id=user_id)
            yield self._remove_codes(user_id=user_id)
            return True

        return await self._writes.transact(script, effects)

    async def export(self, user_id: str) -> ExportedSecondFactor | None:
        factor = await self.find(user_id)
        if factor is None:
            return None
        return ExportedSecondFactor(factor.created_at, factor.confirmed_at, factor.recovery_codes_left)


def _begin(*, is_postgresql: bool) -> Executable:
    """Return the statement that stores an enrolment or replaces an unconfirmed one; it returns a row if it did."""
    names = ("user_id", "sealed", "created_at")
    insert_into = postgresql.insert if is_postgresql else sqlite.insert
    statement = insert_into(second_factors).values({name: bindparam(name) for name in names})
    new = {name: statement.excluded[name] for name in ("sealed", "created_at")}
    return statement.on_conflict_do_update(
        index_elements=[second_factors.c.user_id], set_=new, where=second_factors.c.confirmed_at.is_(None)
    ).returning(second_factors.c.user_id)


# The factor first, as the use of a code locks it before it deletes the code.
_THEIRS = [
    delete(table).where(table.c.user_id == bindparam("user_id", type_=Identifier))
    for table in (second_factors, recovery_codes)
]
OWNED = Owned(delete=_THEIRS, distrust=[statement.returning(statement.table.c.user_id) for statement in _THEIRS])
