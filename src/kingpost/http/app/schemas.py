"""Bodies of requests and responses that are not specific to a feature: patches, problems, health."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType


class JSONPatchOperation(msgspec.Struct, frozen=True, rename={"origin": "from"}):
    """An operation of a JSON Patch (RFC 6902). Paths point into `{"data": …}` or into the account."""

    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: Annotated[str, Meta(description="A JSON Pointer (RFC 6901).", examples=["/data/title"])]
    value: Annotated[Any, Meta(description="Required for `add`, `replace` and `test`.", examples=["Aliens"])] = None
    origin: Annotated[str, Meta(description="Required for `move` and `copy`: a JSON Pointer.")] | UnsetType = UNSET


class JSONPatch(msgspec.Struct, frozen=True):
    """The operations of a JSON Patch: decoded JSON that is not validated yet."""

    operations: list[Any]


class Health(msgspec.Struct, frozen=True):
    """The health of the server."""

    status: Literal["ok"]


class FaultBody(msgspec.Struct, frozen=True):
    """An invalid part of the request. Exactly one of `pointer`, `parameter` and `header` locates it."""

    detail: Annotated[str, Meta(examples=["The field `data` is required"])]
    code: Annotated[str, Meta(description="A stable value for programs.", examples=["required"])]
    pointer: Annotated[str, Meta(description="A JSON Pointer (RFC 6901) into the body.")] | UnsetType = UNSET
    parameter: Annotated[str, Meta(description="The name of a query or path parameter.")] | UnsetType = UNSET
    header: Annotated[str, Meta(description="The name of a header.")] | UnsetType = UNSET


class ProblemBody(msgspec.Struct, frozen=True):
    """An error response (RFC 9457)."""

    type: Annotated[
        str, Meta(description="The address of a page that explains the problem.", examples=["/problems/not-found"])
    ]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    instance: Annotated[str, Meta(description="The path of the request.")]
    request_id: Annotated[
        str, Meta(description="Report it to the operator, who finds the request in the log by this id.")
    ]
    errors: Annotated[list[FaultBody], Meta(description="The faults of the request, 100 at most.")] | UnsetType = UNSET
    more: Annotated[Literal[True], Meta(description="There are more faults than `errors` lists.")] | UnsetType = UNSET
    current: (
        Annotated[dict[str, Any], Meta(description="With `version-mismatch`: the current representation.")] | UnsetType
    ) = UNSET
