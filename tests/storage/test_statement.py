"""Statements: compiled once, called with parameters by name."""

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, bindparam, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.engine import Dialect

from kingpost.storage.database import Statement

table = Table("t", MetaData(), Column("a", Integer), Column("b", Integer))
twice = select(table.c.a).where(table.c.a == bindparam("x"), table.c.b == bindparam("y"), table.c.b > bindparam("x"))


@pytest.mark.parametrize(
    ("dialect", "parameters"),
    [(sqlite.dialect(paramstyle="qmark"), (1, 2, 1)), (asyncpg.dialect(), (1, 2))],  # type: ignore[no-untyped-call]
)
def test_a_parameter_can_occur_several_times(dialect: Dialect, parameters: tuple[int, ...]) -> None:
    assert Statement(twice, dialect)(x=1, y=2).parameters == parameters


def test_constants_of_the_statement_need_no_parameter() -> None:
    statement = Statement(select(table.c.a).where(table.c.a == 5, table.c.b == bindparam("y")), sqlite.dialect())
    assert statement(y=6).parameters == (5, 6)
    assert statement(y=None).parameters == (5, None)


def test_a_missing_parameter_is_an_error() -> None:
    with pytest.raises(KeyError):
        Statement(twice, sqlite.dialect())(x=1)
