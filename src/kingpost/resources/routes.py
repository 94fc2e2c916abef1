"""Resources over HTTP."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

import msgspec

from kingpost.http.app.answers import PRIVATE, Answer, answer
from kingpost.http.app.call import Call
from kingpost.http.app.pages import listing, next_page
from kingpost.http.app.router import Route, Tag, Who
from kingpost.http.app.schemas import JSONPatch
from kingpost.jsontools import json_patch, merge_patch
from kingpost.model import Resource
from kingpost.problems import Conflict, Fault, Forbidden, InvalidRequest, NotFound
from kingpost.resources.access import Action
from kingpost.resources.schemas import (
    CreateResource,
    PatchResource,
    ReplaceResource,
    ResourceBody,
    ResourceList,
    ResourceQuery,
)
from kingpost.resources.service import Resources
from kingpost.resources.store import ResourceListing

RESOURCES = Tag("Resources", "JSON documents of any type, each with an owner and a version.", place=50)


async def create_resource(call: Call, resources: Resources) -> Answer:
    body: CreateResource = call.body
    resource = await resources.create(call.context, body.type, body.data)
    location = (b"location", f"/api/v1/resources/{resource.id}".encode())
    return answer(resource, PRIVATE, location, status=201, version=resource.version)


def _to(action: Action) -> Callable[[Call, Resources], Awaitable[Resource]]:
    """Return the function that finds the resource of a call, to do this action with it."""

    async def find(call: Call, resources: Resources) -> Resource:
        return await resources.find(call.caller, action, call.path["id"])

    return find


async def get_resource(call: Call, resources: Resources) -> Answer:
    resource: Resource = call.target
    return answer(resource, PRIVATE, version=resource.version)


async def list_resources(call: Call, resources: Resources) -> Answer:
    query: ResourceQuery = call.query
    page_request, binding = listing(call)
    owner_id = call.caller.user_id if query.owner == "me" else query.owner
    resource_listing = ResourceListing(**msgspec.structs.asdict(page_request), type=query.type, owner_id=owner_id)
    page = await resources.list(call.caller, resource_listing)
    if page.is_cut and query.page is not None:
        # The next number would skip what this page leaves out.
        detail = "This page would be too large. Use a smaller `limit`, or `cursor` instead of `page`"
        raise InvalidRequest.of(Fault(detail, "too_large", parameter="page"))
    cursor, headers = next_page(call, page.next, binding)
    total = msgspec.UNSET if page.total is None else page.total
    items = cast(list[ResourceBody], page.items)
    return answer(ResourceList(items, cursor, total), PRIVATE, *headers)


async def replace_resource(call: Call, resources: Resources) -> Answer:
    body: ReplaceResource = call.body
    resource = await resources.replace(call.context, call.target, body.data, body.type, call.versions)
    return answer(resource, PRIVATE, version=resource.version)


async def patch_resource(call: Call, resources: Resources) -> Answer:
    body: PatchResource | JSONPatch = call.body
    if isinstance(body, JSONPatch):
        limit = call.machine.body_limit
        patch = partial(json_patch.apply, operations=body.operations, size_limit=limit)
    else:
        patch = partial(merge_patch.apply, patch={} if body.data is msgspec.UNSET else {"data": body.data})
    resource = await resources.patch(call.context, call.target, patch, call.body_size, call.versions)
    return answer(resource, PRIVATE, version=resource.version)


async def delete_resource(call: Call, resources: Resources) -> Answer:
    await resources.delete(call.context, call.target, call.versions)
    return Answer(204, b"", [PRIVATE])


_JSON_PATCH = (
    {"op": "test", "path": "/data/title", "value": "Alien"},
    {"op": "replace", "path": "/data/year", "value": 1980},
)

ROUTES: tuple[Route[Resources], ...] = (
    Route(
        method="GET",
        path="/api/resources",
        handler=list_resources,
        who=Who.CALLER,
        scopes=("resources:read",),
        tag=RESOURCES,
        summary="List resources",
        query=ResourceQuery,
        result=ResourceList,
        headers=("Link",),
    ),
    Route(
        method="POST",
        path="/api/resources",
        handler=create_resource,
        who=Who.CALLER,
        scopes=("resources:write",),
        tag=RESOURCES,
        summary="Create a resource",
        body=CreateResource,
        result=ResourceBody,
        status=201,
        headers=("Location", "ETag"),
    ),
    Route(
        method="GET",
        path="/api/resources/{id}",
        handler=get_resource,
        target=_to("read"),
        who=Who.CALLER,
        scopes=("resources:read",),
        tag=RESOURCES,
        summary="Read a resource",
        result=ResourceBody,
        headers=("ETag",),
        problems=(Forbidden, NotFound),
    ),
    Route(
        method="PUT",
        path="/api/resources/{id}",
        handler=replace_resource,
        target=_to("update"),
        who=Who.CALLER,
        scopes=("resources:write",),
        tag=RESOURCES,
        summary="Replace a resource's data",
        body=ReplaceResource,
        result=ResourceBody,
        headers=("ETag",),
        problems=(Forbidden, NotFound),
    ),
    Route(
        method="PATCH",
        path="/api/resources/{id}",
        handler=patch_resource,
        target=_to("update"),
        who=Who.CALLER,
        scopes=("resources:write",),
        tag=RESOURCES,
        summary="Change a resource's data",
        body=PatchResource,
        json_patch_example=_JSON_PATCH,
        result=ResourceBody,
        headers=("ETag",),
        problems=(Conflict, Forbidden, NotFound),
    ),
    Route(
        method="DELETE",
        path="/api/resources/{id}",
        handler=delete_resource,
        target=_to("delete"),
        who=Who.CALLER,
        scopes=("resources:write",),
        tag=RESOURCES,
        summary="Delete a resource",
        status=204,
        problems=(Forbidden, NotFound),
    ),
)
