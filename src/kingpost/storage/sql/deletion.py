"""Deleting an account: the one place that decides what becomes of all that is about it."""

from sqlalchemy import bindparam, delete, or_, update
from sqlalchemy.engine import Dialect

from kingpost.storage.sql.database import Script, Statement
from kingpost.storage.sql.schema import (
    Identifier,
    api_keys,
    audit,
    jobs,
    one_time_tokens,
    recovery_codes,
    resources,
    second_factors,
    users,
)


class AccountDeletion:
    """Deletes an account inside a script. Its sessions must have been ended: they outlive it until all nodes know."""

    def __init__(self, dialect: Dialect) -> None:
        user_id = bindparam("user_id", type_=Identifier)
        owned = [resources.c.owner_id, api_keys.c.user_id, recovery_codes.c.user_id, second_factors.c.user_id]
        owned += [one_time_tokens.c.user_id, jobs.c.user_id]
        steps = [delete(column.table).where(column == user_id) for column in owned]
        self._owned = [Statement(step, dialect) for step in steps]
        # Where somebody was is personal; that an account with this id did something is not, once it is gone.
        about = or_(audit.c.actor_id == user_id, audit.c.target_id == user_id)
        forgotten = update(audit).where(about, audit.c.address.is_not(None)).values(address=None)
        self._forget_addresses = Statement(forgotten, dialect)
        self._delete = Statement(delete(users).where(users.c.id == user_id), dialect)

    def delete(self, user_id: str) -> Script[None]:
        """Delete it with all that it owns."""
        for statement in [*self._owned, self._forget_addresses, self._delete]:
            yield statement(user_id=user_id)
