"""The port that stores resources."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kingpost.model import Page, Resource
from kingpost.storage.listing import Listing


class ResourceListing(Listing, frozen=True):
    """Which resources are wanted: those of one type, those of one owner, or both, or all."""

    type: str | None = None
    owner_id: str | None = None


class ResourceStore(Protocol):
    """Documents with owners."""

    async def create(self, resource: Resource) -> None:
        """Store a new resource.

        Raises:
            Unauthenticated: its owner is gone.
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

    async def replace(self, resource_id: str, data: msgspec.Raw, at: str, versions: Sequence[int] | None) -> Resource:
        """Replace a resource's data, add one to its version, and return it.

        Args:
            at: the time of the change.
            versions: replace only one of these versions; None replaces any.

        Raises:
            NotFound: there is no such resource.
            VersionMismatch: it has another version. Of N callers that name one version exactly one wins.
        """
        ...

    async def delete(self, resource_id: str, versions: Sequence[int] | None) -> None:
        """Delete a resource.

        Raises:
            NotFound, VersionMismatch: as for `replace`.
        """
        ...
