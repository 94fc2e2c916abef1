"""The port that stores resources."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from kingpost.model import Page, Resource
from kingpost.problems import Problem
from kingpost.storage.listing import Listing


class ResourceListing(Listing, frozen=True):
    """The conditions, order and page of a listing. `type` and `owner_id` match all resources if they are None."""

    type: str | None = None
    owner_id: str | None = None


class CreateResource(msgspec.Struct, frozen=True):
    """Create a resource. The outcome is the resource.

    It is refused with `Unauthenticated` if the owner's account is gone.
    """

    resource: Resource


class ReplaceResource(msgspec.Struct, frozen=True):
    """Replace the data of a resource, and increment its version. The outcome is the new resource.

    `at` is the time of the change. `versions` are those that may be replaced; None allows any. It is refused with
    `NotFound` if no resource has this id, and with `VersionMismatch` if the resource has another version.
    """

    id: str
    data: msgspec.Raw
    at: str
    versions: tuple[int, ...] | None = None


class DeleteResource(msgspec.Struct, frozen=True):
    """Delete a resource. The outcome is None. It is refused as `ReplaceResource` is."""

    id: str
    versions: tuple[int, ...] | None = None


type ResourceWrite = CreateResource | ReplaceResource | DeleteResource


class Refused(Exception):
    """One of several writes was refused, so none of them took effect.

    Attributes:
        index: the position of the refused write.
        problem: the reason why it was refused.
    """

    def __init__(self, index: int, problem: Problem) -> None:
        super().__init__(index, problem)
        self.index = index
        self.problem = problem


class ResourceStore(Protocol):
    """Resources: documents with an owner and a version."""

    async def commit(
        self, writes: Sequence[ResourceWrite], effects: Sequence[Any] = (), *, dry_run: bool = False
    ) -> Sequence[Resource | None]:
        """Commit all writes or none, and return the outcome of each.

        Of N concurrent calls that name one version of a resource exactly one succeeds.

        Args:
            writes: the writes; those of the same resource take effect in this order.
            effects: stored in the same transaction.
            dry_run: roll back at the end, and return the outcomes that the writes would have had.

        Raises:
            NotFound, VersionMismatch, Unauthenticated: the only write was refused.
            Refused: one of several writes was refused. Its cause is the problem.
        """
        ...

    async def find(self, resource_id: str) -> Resource | None:
        """Return the resource with this id, or None."""
        ...

    async def list(self, listing: ResourceListing) -> Page[Resource]:
        """Return one page of resources in the order of `listing.sort`, which can be any field but `data`; ties by id.

        Following the positions from page to page never returns a row twice, and never skips a row that exists all
        the time, even with concurrent writes. Sorted by `created_at` or `id`, or by `updated_at` without `type`, all
        pages cost the same. Other orders sort all matching rows, in a thread or connection for long reads.
        """
        ...
