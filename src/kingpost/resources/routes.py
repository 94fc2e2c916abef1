"""Resources over HTTP."""

from functools import partial
from typing import cast

import msgspec

from kingpost.http.app.answers import PRIVATE, Answer, answer
from kingpost.http.app.call import Call
from kingpost.http.app.etags import format_etag, if_match, if_none_match
from kingpost.http.app.pages import listing, next_page
from kingpost.http.app.router import Route, Tag, Who
from kingpost.http.app.schemas import JSONPatch
from kingpost.jsontools import json_patch, merge_patch
from kingpost.model import Resource
from kingpost.problems import Conflict, Forbidden, NotFound
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
    return answer(resource, PRIVATE, location, _etag(resource), status=201)


async def get_resource(call: Call, resources: Resources) -> Answer:
    resource = await resources.read(call.caller, call.path["id"])
    condition = call.headers.get(b"if-none-match")
    if condition is not None and if_none_match(condition.decode("latin-1"), resource.version):
        return Answer(304, b"", [PRIVATE, _etag(resource)])
    return answer(resource, PRIVATE, _etag(resource))


async def list_resources(call: Call, resources: Resources) -> Answer:
    query: ResourceQuery = call.query
    page_request, binding = listing(call)
    owner_id = call.caller.user_id if query.owner == "me" else query.owner
    resource_listing = ResourceListing(**msgspec.structs.asdict(page_request), type=query.type, owner_id=owner_id)
    page = await resources.list(call.caller, resource_listing)
    cursor, headers = next_page(call, page.next, binding)
    total = msgspec.UNSET if page.total is None else page.total
    items = cast(list[ResourceBody], page.items)
    return answer(ResourceList(items, cursor, total), PRIVATE, *headers)


async def replace_resource(call: Call, resources: Resources) -> Answer:
    body: ReplaceResource = call.body
    versions = if_match(call.header(b"if-match"))
    resource = await resources.replace(call.context, call.path["id"], body.data, body.type, versions)
    return answer(resource, PRIVATE, _etag(resource))


async def patch_resource(call: Call, resources: Resources) -> Answer:
    body: PatchResource | JSONPatch = call.body
    versions = if_match(call.header(b"if-match"))
    if isinstance(body, JSONPatch):
        limit = call.machine.body_limit
        patch = partial(json_patch.apply, operations=body.operations, size_limit=limit)
    else:
        patch = partial(merge_patch.apply, patch={} if body.data is msgspec.UNSET else {"data": body.data})
    resource = await resources.patch(call.context, call.path["id"], patch, versions)
    return answer(resource, PRIVATE, _etag(resource))


async def delete_resource(call: Call, resources: Resources) -> Answer:
    await resources.delete(call.context, call.path["id"], if_match(call.header(b"if-match")))
    return Answer(204, b"", [PRIVATE])


def _etag(resource: Resource) -> tuple[bytes, bytes]:
    return b"etag", format_etag(resource.version).encode()


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
        who=Who.CALLER,
        scopes=("resources:write",),
        tag=RESOURCES,
        summary="Replace a resource's data",
        body=ReplaceResource,
        result=ResourceBody,
        headers=("ETag",),
        preconditions=True,
        problems=(Forbidden, NotFound),
    ),
    Route(
        method="PATCH",
        path="/api/resources/{id}",
        handler=patch_resource,
        who=Who.CALLER,
        scopes=("resources:write",),
        tag=RESOURCES,
        summary="Change a resource's data",
        body=PatchResource,
        json_patch_example=_JSON_PATCH,
        result=ResourceBody,
        headers=("ETag",),
        preconditions=True,
        problems=(Conflict, Forbidden, NotFound),
    ),
    Route(
        method="DELETE",
        path="/api/resources/{id}",
        handler=delete_resource,
        who=Who.CALLER,
        scopes=("resources:write",),
        tag=RESOURCES,
        summary="Delete a resource",
        status=204,
        preconditions=True,
        problems=(Forbidden, NotFound),
    ),
)
