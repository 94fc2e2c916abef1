"""The rows of a room that belong to accounts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Executable, Select, Table, bindparam, select


class Owned(NamedTuple):
    """Statements about the rows that a room stores for accounts. Other rooms run them in their own transactions.

    Attributes:
        delete: run when the account is deleted. Parameter: `user_id`.
        distrust: delete credentials. Run when the account's address is verified for the first time, because another
            person may have signed up with it. Parameter: `user_id`. Each returns a row for each that it deleted.
    """

    delete: Sequence[Executable]
    distrust: Sequence[Executable] = ()


def owned_rows(table: Table, struct: type[msgspec.Struct]) -> Select[Any]:
    """Return a query for the rows of an account, oldest first, with one column for each field of a struct.

    Its parameter is `user_id`.
    """
    columns = [table.c[name] for name in struct.__struct_fields__]
    rows = select(*columns).where(table.c.user_id == bindparam("user_id"))
    return rows.order_by(table.c.created_at, *table.primary_key)
