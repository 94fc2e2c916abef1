"""The port that stores resources."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from kingpost.model import Page, Resource
from kingpost.problems import Problem
from kingpost.storage.listing import Listing


class ResourceListing(Listing, frozen=True):
    """Which resources are wanted: those of one type, those of one owner, or both, or all."""

    type: str | None = None
    owner_id: str | None = None


class CreateResource(msgspec.Struct, frozen=True):
    """Store a new resource. Its outcome is the resource.

    Refused with `Unauthenticated` if its owner is gone.
    """

    resource: Resource


class ReplaceResource(msgspec.Struct, frozen=True):
    """Replace the data of a resource, and add one to its version. Its outcome is the resource as it is then.

    `at` is the time of the change. `versions` are those that may be replaced; None allows any. Refused with `NotFound`
    if there is no such resource, and with `VersionMismatch` if it has another version.
    """

    id: str
    data: msgspec.Raw
    at: str
    versions: tuple[int, ...] | None = None


class DeleteResource(msgspec.Struct, frozen=True):
    """Delete a resource, and refuse as `ReplaceResource` does. It has no outcome."""

    id: str
    versions: tuple[int, ...] | None = None


type ResourceWrite = CreateResource | ReplaceResource | DeleteResource


class Refused(Exception):
    """Several writes were refused because of one of them, and nothing has happened.

    Attributes:
        index: the position of the write at fault.
        problem: what is wrong with it.
    """

    def __init__(self, index: int, problem: Problem) -> None:
        super().__init__(index, problem)
        self.index = index
        self.problem = problem


class ResourceStore(Protocol):
    """Documents with owners."""

    async def commit(
        self, writes: Sequence[ResourceWrite], effects: Sequence[Any] = (), *, dry_run: bool = False
    ) -> Sequence[Resource | None]:
        """Do all writes or none, and return the outcome of each.

        Of N callers that name one version of a resource exactly one wins.

        Args:
            writes: in the order in which writes of the same resource are done.
            effects: what is stored with the writes, only if all of them are done.
            dry_run: undo everything at its end, and return what would have been.

        Raises:
            NotFound, VersionMismatch, Unauthenticated: the only write was refused, as it says.
            Refused: one of several writes was. Its cause is the problem.
        """
        ...

    async def find(self, resource_id: str) -> Resource | None:
        """The resource, or None."""
        ...

    async def list(self, listing: ResourceListing) -> Page[Resource]:
        """Resources in the order of `listing.sort` (any field but `data`), ties by id.

        A walk by position never returns a row twice, and never misses one that was there all along, whatever is
        created or deleted meanwhile. By `created_at` and `id`, and by `updated_at` where `type` is not given, the
        thousandth page costs what the first did. Other orders sort all rows that match, away from short reads.
        """
        ...
