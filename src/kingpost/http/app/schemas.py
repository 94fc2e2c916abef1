"""What every kind of request and response may hold: patches, problems, health."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType


class JSONPatchOperation(msgspec.Struct, frozen=True, rename={"origin": "from"}):
    """One step of a JSON Patch (RFC 6902). The paths lead into `{"data": …}`, or into the account."""

    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: Annotated[str, Meta(description="A JSON Pointer (RFC 6901).", examples=["/data/title"])]
    value: Annotated[Any, Meta(description="For `add`, `replace` and `test`.", examples=["Aliens"])] = None
    origin: Annotated[str, Meta(description="For `move` and `copy`: a JSON Pointer.")] | UnsetType = UNSET


class JSONPatch(msgspec.Struct, frozen=True):
    """The operations of a JSON Patch, decoded but not looked at yet: any JSON may stand there."""

    operations: list[Any]


class Health(msgspec.Struct, frozen=True):
    """Whether the server is well."""

    status: Literal["ok"]


class FaultBody(msgspec.Struct, frozen=True):
    """One thing that is wrong with the input; where is said by exactly one of the other three members."""

    detail: str
    code: Annotated[str, Meta(description="Stable, for programs.", examples=["required"])]
    pointer: Annotated[str, Meta(description="A JSON Pointer (RFC 6901) into the body.")] | UnsetType = UNSET
    parameter: Annotated[str, Meta(description="A query or path parameter.")] | UnsetType = UNSET
    header: Annotated[str, Meta(description="A header.")] | UnsetType = UNSET


class ProblemBody(msgspec.Struct, frozen=True):
    """What went wrong (RFC 9457)."""

    type: Annotated[str, Meta(description="The address of a page that explains it.", examples=["/problems/not-found"])]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    instance: Annotated[str, Meta(description="The path that was asked for.")]
    request_id: Annotated[str, Meta(description="Tell it to the operator: the log has it too.")]
    errors: Annotated[list[FaultBody], Meta(description="Every fault of the input.")] | UnsetType = UNSET
    current: (
        Annotated[dict[str, Any], Meta(description="With `version-mismatch`: the present representation.")] | UnsetType
    ) = UNSET
