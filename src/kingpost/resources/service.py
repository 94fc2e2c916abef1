"""Reading, writing and patching resources on behalf of callers."""

from collections.abc import Callable
from typing import Any

import msgspec

from kingpost import clock
from kingpost.jsontools import strict
from kingpost.jsontools.strict import JSONLimits
from kingpost.jsontools.worker import Worker
from kingpost.model import Context, Page, Principal, Resource
from kingpost.problems import Fault, Forbidden, InvalidRequest, NotFound, TooLarge, Unavailable, VersionMismatch
from kingpost.resources.access import Action, may
from kingpost.resources.store import CreateResource, DeleteResource, ReplaceResource, ResourceListing, ResourceStore

MAX_ATTEMPTS = 100
"""How often a patch without `If-Match` is applied to a newer version after a concurrent write."""


type Patch = Callable[[dict[str, Any]], Any]
"""A function from a document of the form `{"data": …}` to a new one. It must be pure, because it may be called again
with a newer version."""


class Resources:
    """Creates, reads and changes resources on behalf of callers."""

    def __init__(self, resources: ResourceStore, worker: Worker, limits: JSONLimits, size_limit: int) -> None:
        """Use a store of resources.

        Args:
            resources: the store.
            worker: applies patches to large documents, and large patches.
            limits: the limits of a patched document.
            size_limit: the maximum size of a patched document, in bytes of JSON.
        """
        self._resources = resources
        self._worker = worker
        self._limits = limits
        self._size_limit = size_limit

    async def create(self, context: Context, type_name: str, data: dict[str, Any]) -> Resource:
        """Create a resource that the caller owns.

        Raises:
            Unauthenticated: the caller's account is gone.
        """
        resource_id, now = clock.new_id()
        resource = Resource(resource_id, type_name, context.caller.user_id, _encode(data), 1, now, now)
        await self._resources.commit([CreateResource(resource)])
        return resource

    async def find(self, principal: Principal, action: Action, resource_id: str) -> Resource:
        """Return the resource with an id, for a caller who wants to do an action with it.

        Raises:
            NotFound: no resource has this id.
            Forbidden: the caller may not do this.
        """
        resource = await self._resources.find(resource_id)
        if resource is None:
            raise NotFound()
        if not may(principal, action, resource):
            raise Forbidden()
        return resource

    async def list(self, principal: Principal, listing: ResourceListing) -> Page[Resource]:
        """Return one page of the resources that match the listing and that the caller may read."""
        if not principal.is_admin:
            if listing.owner_id not in (None, principal.user_id):
                return Page([], None, 0 if listing.count else None)
            listing = msgspec.structs.replace(listing, owner_id=principal.user_id)
        return await self._resources.list(listing)

    async def replace(
        self,
        context: Context,
        resource: Resource,
        data: dict[str, Any],
        type_name: str | None,
        versions: tuple[int, ...] | None,
    ) -> Resource:
        """Replace the data of a resource, which `find` has returned to the caller.

        `versions` are those that may be replaced; None allows any.

        Raises:
            NotFound: the resource is gone.
            InvalidRequest: `type_name` is not the type of the resource.
            VersionMismatch: the resource has another version.
        """
        if type_name not in (None, resource.type):
            raise InvalidRequest.of(Fault("The type of a resource cannot be changed", "immutable", pointer="/type"))
        return await self._replace(resource.id, _encode(data), versions)

    async def patch(
        self, context: Context, resource: Resource, patch: Patch, patch_size: int, versions: tuple[int, ...] | None
    ) -> Resource:
        """Apply a patch to the document `{"data": …}` of a resource, which `find` has returned to the caller.

        The patch has `patch_size` bytes as JSON.

        The result is written only if the resource still has the version that the patch was applied to. After a
        concurrent write the patch is applied to the new version, so that neither write is lost. With `versions`, a
        concurrent write raises `VersionMismatch` instead.

        Raises:
            NotFound, VersionMismatch: as for `replace`.
            TooLarge: the patched document is too large.
            InvalidRequest: the patched document is nested too deep, or is not an object with only `data`.
            Unavailable: `MAX_ATTEMPTS` concurrent writes came first.
        """
        for _ in range(MAX_ATTEMPTS):
            size = len(bytes(resource.data)) + patch_size
            data = await self._worker.run(size, self._patched, resource, patch)
            try:
                return await self._replace(resource.id, data, (resource.version,))
            except VersionMismatch as mismatch:
                if versions is not None:
                    raise
                resource = mismatch.current
        raise Unavailable("Too many concurrent changes of this resource")

    async def delete(self, context: Context, resource: Resource, versions: tuple[int, ...] | None) -> None:
        """Delete a resource, which `find` has returned to the caller.

        Raises:
            NotFound, VersionMismatch: as for `replace`.
        """
        await self._resources.commit([DeleteResource(resource.id, versions)])

    async def _replace(self, resource_id: str, data: msgspec.Raw, versions: tuple[int, ...] | None) -> Resource:
        write = ReplaceResource(resource_id, data, clock.now(), versions)
        (replaced,) = await self._resources.commit([write])
        assert replaced is not None
        return replaced

    def _patched(self, resource: Resource, patch: Patch) -> msgspec.Raw:
        document = patch({"data": strict.decode_stored(bytes(resource.data))})
        # A patch can nest deeper than its input, and a JSON Patch can put any value anywhere, so check the result.
        match document:
            case {"data": dict(), **others} if not others:
                text = msgspec.json.encode(document)
            case _:
                detail = "The patched document must have only the field `data`, which must be an object"
                raise InvalidRequest.of(Fault(detail, "type", pointer=""))
        if len(text) > self._size_limit:
            raise TooLarge("The patched document would be too large")
        strict.check(text, self._limits)
        return msgspec.Raw(text.removeprefix(b'{"data":').removesuffix(b"}"))


def _encode(data: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(data))
