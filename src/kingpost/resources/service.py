"""Resources: documents of any type, with an owner."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from kingpost import clock
from kingpost.jsontools import strict
from kingpost.jsontools.strict import JSONLimits
from kingpost.model import Context, Page, Principal, Resource
from kingpost.problems import Fault, Forbidden, InvalidRequest, NotFound, TooLarge, Unavailable, VersionMismatch
from kingpost.resources.access import Action, may
from kingpost.resources.store import CreateResource, DeleteResource, ReplaceResource, ResourceListing, ResourceStore

PATIENCE = 100
"""How often a patch without `If-Match` is applied anew because others were faster."""


type Patch = Callable[[dict[str, Any]], Any]
"""Makes a new document out of one of the form `{"data": …}`. Pure: it may be called again with a newer one."""


class Resources:
    """What callers may do with resources."""

    def __init__(self, resources: ResourceStore, limits: JSONLimits, size_limit: int) -> None:
        """`size_limit` is how many bytes of JSON a patched document may have."""
        self._resources = resources
        self._limits = limits
        self._size_limit = size_limit

    async def create(self, context: Context, type_name: str, data: dict[str, Any]) -> Resource:
        """Store a new resource that belongs to the caller."""
        resource_id, now = clock.new_id()
        resource = Resource(resource_id, type_name, context.caller.user_id, _encode(data), 1, now, now)
        await self._resources.commit([CreateResource(resource)])
        return resource

    async def read(self, principal: Principal, resource_id: str) -> Resource:
        """One resource.

        Raises:
            NotFound: there is none.
            Forbidden: the caller may not read it.
        """
        return await self._permitted(principal, "read", resource_id)

    async def list(self, principal: Principal, listing: ResourceListing) -> Page[Resource]:
        """What the caller may read of the resources that `listing` asks for."""
        if not principal.is_admin:
            if listing.owner_id not in (None, principal.user_id):
                return Page([], None, 0 if listing.count else None)
            listing = msgspec.structs.replace(listing, owner_id=principal.user_id)
        return await self._resources.list(listing)

    async def replace(
        self,
        context: Context,
        resource_id: str,
        data: dict[str, Any],
        type_name: str | None,
        versions: Sequence[int] | None,
    ) -> Resource:
        """Replace a resource's data. `versions` are those that `If-Match` names; None means any.

        Raises:
            NotFound, Forbidden: as for `read`.
            InvalidRequest: `type_name` names another type than the resource has.
            VersionMismatch: it has another version.
        """
        resource = await self._permitted(context.caller, "update", resource_id)
        if type_name not in (None, resource.type):
            raise InvalidRequest.of(Fault("The type of a resource cannot change", "immutable", pointer="/type"))
        return await self._replace(resource_id, _encode(data), versions)

    async def patch(self, context: Context, resource_id: str, patch: Patch, versions: Sequence[int] | None) -> Resource:
        """Apply a patch to `{"data": …}`.

        The patch is applied to the version that was read and written only if that version still stands.
        If another writer was faster, it is applied anew to what that one left, so neither is lost; with
        `versions`, that is a mismatch instead.

        Raises:
            NotFound, Forbidden, VersionMismatch: as for `replace`.
            TooLarge, InvalidRequest: the result is larger or deeper than a document may be.
            Unavailable: others were faster too many times.
        """
        resource = await self._permitted(context.caller, "update", resource_id)
        if versions is not None and resource.version not in versions:
            raise VersionMismatch(resource)
        for _ in range(PATIENCE):
            data = self._patched(resource, patch)
            try:
                return await self._replace(resource_id, data, (resource.version,))
            except VersionMismatch as mismatch:
                if versions is not None:
                    raise
                resource = mismatch.current
        raise Unavailable("Too many writers change this resource at the same time")

    async def delete(self, context: Context, resource_id: str, versions: Sequence[int] | None) -> None:
        """Delete a resource.

        Raises:
            NotFound, Forbidden, VersionMismatch: as for `replace`.
        """
        await self._permitted(context.caller, "delete", resource_id)
        await self._resources.commit([DeleteResource(resource_id, None if versions is None else tuple(versions))])

    async def _replace(self, resource_id: str, data: msgspec.Raw, versions: Sequence[int] | None) -> Resource:
        write = ReplaceResource(resource_id, data, clock.now(), None if versions is None else tuple(versions))
        (replaced,) = await self._resources.commit([write])
        assert replaced is not None
        return replaced

    def _patched(self, resource: Resource, patch: Patch) -> msgspec.Raw:
        document = msgspec.json.encode(patch({"data": msgspec.json.decode(resource.data)}))
        if len(document) > self._size_limit:
            raise TooLarge("The patched document would be too large")
        # The result may be deeper than what came in, and a JSON Patch may put anything anywhere.
        match strict.decode(document, self._limits):
            case {"data": dict(data), **others} if not others:
                return _encode(data)
        raise InvalidRequest.of(Fault("A patch leaves data as an object, and nothing beside it", "type", pointer=""))

    async def _permitted(self, principal: Principal, action: Action, resource_id: str) -> Resource:
        resource = await self._resources.find(resource_id)
        if resource is None:
            raise NotFound()
        if not may(principal, action, resource):
            raise Forbidden()
        return resource


def _encode(data: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(data))
