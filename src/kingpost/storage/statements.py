"""Parts of statements that several tables need."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Text
from sqlalchemy.types import TypeEngine

from kingpost.storage.functions import is_listed
from kingpost.storage.writes import Parameters

type Versions = tuple[int, ...] | None
"""The versions that a write accepts; None accepts any."""


def typed(columns: Sequence[Column[Any]], shape: Hashable = None) -> Mapping[str, TypeEngine[Any]]:
    """Return the types of parameters for columns, followed by those for versions of a `versions_shape`."""
    types = {column.name: column.type for column in columns}
    match shape:
        case "one version":
            return types | {
                "version_named": BigInteger()
            }  # A client may name a version that is too large for the column.
        case "versions":
            return types | {"versions_named": Text()}
    return types


def versions_shape(versions: Versions) -> Hashable:
    """Return the shape of a write that names versions. Most name one, which is the cheapest to compare."""
    return None if versions is None else "one version" if len(versions) == 1 else "versions"


def versions_row(versions: Versions) -> tuple[Any, ...]:
    """Return the parameters for versions."""
    if versions is None or len(versions) == 1:
        return versions or ()
    return (",".join(map(str, versions)),)


def versions_in(column: ColumnElement[int], row: Parameters) -> Sequence[ColumnElement[bool]]:
    """Return the condition that a version is one of those named; none if any is accepted."""
    match row.shape:
        case "one version":
            return [column == row.version_named]
        case "versions":
            return [is_listed(column, row.versions_named)]
    return []
