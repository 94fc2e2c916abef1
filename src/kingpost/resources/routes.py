"""Resources on the wire."""

from functools import partial
from typing import cast

import msgspec

from kingpost.http.app.call import PRIVATE, Answer, Call, answer
from kingpost.http.app.etags import format_etag, if_match, if_none_match
from kingpost.http.app.pages import listing, next_page
from kingpost.http.app.schemas import JSONPatch
from kingpost.jsontools import json_patch, merge_patch
from kingpost.model import Resource
from kingpost.resources.schemas import (
    CreateResource,
    PatchResource,
    ReplaceResource,
    ResourceBody,
    ResourceList,
    ResourceQuery,
)
from kingpost.storage import ResourceListing


async def create_resource(call: Call) -> Answer:
    body: CreateResource = call.body
    resource = await call.features.resources.create(call.caller, body.type, body.data)
    location = (b"location", f"/api/v1/resources/{resource.id}".encode())
    return answer(resource, PRIVATE, location, _etag(resource), status=201)


async def get_resource(call: Call) -> Answer:
    resource = await call.features.resources.read(call.caller, call.path["id"])
    condition = call.headers.get(b"if-none-match")
    if condition is not None and if_none_match(condition.decode("latin-1"), resource.version):
        return Answer(304, b"", [PRIVATE, _etag(resource)])
    return answer(resource, PRIVATE, _etag(resource))


async def list_resources(call: Call) -> Answer:
    query: ResourceQuery = call.query
    part, binding = listing(call)
    owner_id = call.caller.user_id if query.owner == "me" else query.owner
    wanted = ResourceListing(**msgspec.structs.asdict(part), type=query.type, owner_id=owner_id)
    page = await call.features.resources.list(call.caller, wanted)
    cursor, headers = next_page(call, page.next, binding)
    total = msgspec.UNSET if page.total is None else page.total
    items = cast(list[ResourceBody], page.items)
    return answer(ResourceList(items, cursor, total), PRIVATE, *headers)


async def replace_resource(call: Call) -> Answer:
    body: ReplaceResource = call.body
    versions = if_match(call.header(b"if-match"))
    resource = await call.features.resources.replace(call.caller, call.path["id"], body.data, body.type, versions)
    return answer(resource, PRIVATE, _etag(resource))


async def patch_resource(call: Call) -> Answer:
    body: PatchResource | JSONPatch = call.body
    versions = if_match(call.header(b"if-match"))
    if isinstance(body, JSONPatch):
        limit = call.features.settings.body_limit
        patch = partial(json_patch.apply, operations=body.operations, size_limit=limit)
    else:
        patch = partial(merge_patch.apply, patch={} if body.data is msgspec.UNSET else {"data": body.data})
    resource = await call.features.resources.patch(call.caller, call.path["id"], patch, versions)
    return answer(resource, PRIVATE, _etag(resource))


async def delete_resource(call: Call) -> Answer:
    await call.features.resources.delete(call.caller, call.path["id"], if_match(call.header(b"if-match")))
    return Answer(204, b"", [PRIVATE])


def _etag(resource: Resource) -> tuple[bytes, bytes]:
    return b"etag", format_etag(resource.version).encode()
