"""Rows that belong to an account, and what becomes of them with it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Executable, Select, Table, bindparam, select


class Owned(NamedTuple):
    """What a room stores about accounts, as statements that other rooms run in their own transactions.

    Attributes:
        delete: what happens when the account is deleted. Parameter: `user_id`.
        distrust: delete the credentials that were created before the owner proved to read the account's mail.
            Parameters: `user_id`, and `before`, an id that carries the time of the proof, or None for all.
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
