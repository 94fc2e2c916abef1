"""What requests and responses hold. The OpenAPI document shows these types and their docstrings."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from kingpost.model import Session, User

END = r"(?!\n)$"
"""The end of a pattern: in Python `$` alone also matches before a line feed at the end."""

Id = Annotated[
    str,
    Meta(
        pattern="^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        description="A UUIDv7 in lower case.",
        examples=["019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"],
        extra_json_schema={"format": "uuid"},
    ),
]
Time = Annotated[
    str,
    Meta(
        description="RFC 3339, UTC, with milliseconds.",
        examples=["2026-11-22T10:15:30.123Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
Email = Annotated[
    str,
    Meta(max_length=254, examples=["ada@example.com"], extra_json_schema={"format": "email"}),
]
Password = Annotated[
    str,
    Meta(
        description="8 to 256 characters, not on the list of common passwords, without the e-mail's local part.",
        examples=["correct horse battery"],
        extra_json_schema={"format": "password", "minLength": 8, "maxLength": 256},
    ),
]
AnyPassword = Annotated[str, Meta(examples=["correct horse battery"], extra_json_schema={"format": "password"})]
DisplayName = Annotated[str, Meta(max_length=200, examples=["Ada Lovelace"])]
_USER_METADATA = Meta(description="The user's own JSON object, 4 KiB at most.", examples=[{"theme": "dark"}])
UserMetadata = Annotated[dict[str, Any], _USER_METADATA]
StoredMetadata = Annotated[msgspec.Raw, _USER_METADATA, Meta(extra_json_schema={"type": "object"})]
"""The same as it comes from storage: JSON text that is handed through."""
Role = Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{0,62}" + END, examples=["user"])]
Roles = Annotated[tuple[Role, ...], Meta(max_length=32)]
TypeName = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z][A-Za-z0-9_.-]{0,62}" + END,
        description="What kind of resource this is: a letter, then letters, digits, `_`, `.` and `-`.",
        examples=["movie"],
    ),
]
Data = Annotated[
    dict[str, Any],
    Meta(description="The document itself: any JSON object.", examples=[{"title": "Alien", "year": 1979}]),
]
AccessToken = Annotated[
    str,
    Meta(
        description="A JWT (RFC 9068), to be sent as `Authorization: Bearer …`.",
        examples=["eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIwMTlhYmMzZSJ9.c2lnbmF0dXJl"],
    ),
]
RefreshToken = Annotated[str, Meta(description="Opaque. Each one can be exchanged once.", max_length=1024)]
REFRESH_TOKENS = ["kQx1ZtB0d3Jm5q8uVw2yA4c6e9g7h0jLnPrTsXzKbMo"]
Cursor = Annotated[
    str,
    Meta(
        description="Where the next page starts; null on the last page. Opaque, bound to this query.",
        examples=["gqRwYWdlAg"],
    ),
]


class SignUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new account."""

    email: Email
    password: Password
    name: DisplayName | None = None
    metadata: UserMetadata = {}


class ReplaceUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that an account may change of itself. What is absent is cleared, but `roles` and `status` stay."""

    email: Email
    name: DisplayName | None = None
    metadata: UserMetadata = {}
    roles: Roles | UnsetType = UNSET
    status: Literal["active", "suspended"] | UnsetType = UNSET
    current_password: Annotated[AnyPassword, Meta(description="Needed to change one's own `email`.")] | None = None


class ChangeUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A merge patch (RFC 7396) of an account: absent members stay, `null` clears, `metadata` is merged."""

    email: Email | UnsetType = UNSET
    name: DisplayName | UnsetType | None = UNSET
    metadata: UserMetadata | UnsetType | None = UNSET
    roles: Roles | UnsetType = UNSET
    status: Literal["active", "suspended"] | UnsetType = UNSET
    current_password: Annotated[AnyPassword, Meta(description="Needed to change one's own `email`.")] | None = None


class ChangePassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new password, and the present one as proof."""

    current_password: AnyPassword
    new_password: Annotated[Password, Meta(examples=["staple battery horse"])]


class UserBody(msgspec.Struct, frozen=True):
    """An account."""

    id: Id
    email: Email
    email_verified: bool
    name: DisplayName | None
    metadata: StoredMetadata
    roles: Roles
    status: Literal["active", "suspended"]
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, user: User) -> "UserBody":
        return cls(
            user.id,
            user.email,
            user.email_verified,
            user.name,
            user.metadata,
            user.roles,
            user.status,
            user.created_at,
            user.updated_at,
        )


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who signs in."""

    email: Email
    password: AnyPassword


class Refresh(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The refresh token to exchange."""

    refresh_token: Annotated[RefreshToken, Meta(examples=REFRESH_TOKENS)]


class Logout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which session ends: that of the refresh token, or else that of the bearer token."""

    refresh_token: RefreshToken | None = None
    everywhere: Annotated[bool, Meta(description="End all sessions of the account.", examples=[False])] = False


class GrantBody(msgspec.Struct, frozen=True):
    """A pair of tokens (RFC 6749, section 5.1)."""

    access_token: AccessToken
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Meta(description="Seconds for which the access token is good.", examples=[600])]
    refresh_token: Annotated[RefreshToken, Meta(examples=REFRESH_TOKENS)]
    session_id: Id
    user: UserBody


class SessionBody(msgspec.Struct, frozen=True):
    """A sign-in on a device."""

    id: Id
    device: Annotated[str, Meta(description="The user agent that signed in.", examples=["curl/8.14.1"])] | None
    address: Annotated[str, Meta(description="The address that it signed in from.", examples=["192.0.2.1"])] | None
    created_at: Time
    last_used_at: Time
    expires_at: Time
    current: Annotated[bool, Meta(description="Whether this is the session that asks.")]

    @classmethod
    def of(cls, session: Session, current_id: str) -> "SessionBody":
        return cls(
            session.id,
            session.device,
            session.address,
            session.created_at,
            session.last_used_at,
            session.expires_at,
            session.id == current_id,
        )


class CreateResource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new resource."""

    type: TypeName
    data: Data


class ReplaceResource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """New data for a resource. `type` may be sent along, but never changes."""

    data: Data
    type: TypeName | None = None


class PatchResource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A merge patch (RFC 7396): members of `data` are set, objects are merged, `null` removes a member."""

    data: Annotated[Data, Meta(examples=[{"year": 1980, "draft": None}])] | UnsetType = UNSET


# Handlers answer with `model.Resource` itself, which encodes as the same, its `data` handed through.
class JSONPatchOperation(msgspec.Struct, frozen=True, rename={"origin": "from"}):
    """One step of a JSON Patch (RFC 6902). The paths lead into `{"data": …}`, or into the account."""

    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: Annotated[str, Meta(description="A JSON Pointer (RFC 6901).", examples=["/data/title"])]
    value: Annotated[Any, Meta(description="For `add`, `replace` and `test`.", examples=["Aliens"])] = None
    origin: Annotated[str, Meta(description="For `move` and `copy`: a JSON Pointer.")] | UnsetType = UNSET


class JSONPatch(msgspec.Struct, frozen=True):
    """The operations of a JSON Patch, decoded but not looked at yet: any JSON may stand there."""

    operations: list[Any]


class ResourceBody(msgspec.Struct, frozen=True):
    """A document with an owner. `version` counts its changes and is its `ETag`."""

    id: Id
    type: TypeName
    owner_id: Id
    data: Data
    version: Annotated[int, Meta(ge=1, examples=[1])]
    created_at: Time
    updated_at: Time


class ResourceList(msgspec.Struct, frozen=True):
    """One page of resources."""

    items: list[ResourceBody]
    next_cursor: Cursor | None
    total: Annotated[int, Meta(ge=0, description="Only with `count=exact`.")] | UnsetType = UNSET


class UserList(msgspec.Struct, frozen=True):
    """One page of accounts."""

    items: list[UserBody]
    next_cursor: Cursor | None
    total: Annotated[int, Meta(ge=0, description="Only with `count=exact`.")] | UnsetType = UNSET


class SessionList(msgspec.Struct, frozen=True):
    """All living sessions of the account; there is never a next page."""

    items: list[SessionBody]
    next_cursor: None


class Health(msgspec.Struct, frozen=True):
    """Whether the server is well."""

    status: Literal["ok"]


class JSONWebKeySet(msgspec.Struct, frozen=True):
    """The public keys of access tokens (RFC 7517, section 5)."""

    keys: Annotated[
        list[dict[str, str]],
        Meta(
            description="One JSON Web Key for each signing key.",
            examples=[
                [
                    {
                        "kid": "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a",
                        "use": "sig",
                        "alg": "ES256",
                        "kty": "EC",
                        "crv": "P-256",
                        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
                    }
                ]
            ],
        ),
    ]


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


USER_SORT_FIELDS = frozenset({"id", "email", "created_at", "updated_at"})
RESOURCE_SORT_FIELDS = frozenset({"id", "type", "owner_id", "version", "created_at", "updated_at"})


def _sort(fields: frozenset[str]) -> Meta:
    known = "|".join(sorted(fields))
    return Meta(
        max_length=200,
        description="Fields, separated by commas; `-` before a field turns its order round.",
        examples=["-created_at,id"],
        pattern=f"^-?({known})(,-?({known}))*{END}",
    )


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a list."""

    limit: Annotated[int, Meta(ge=1, le=100, description="How many items a page holds at most.")] = 20
    cursor: Annotated[str, Meta(max_length=2048, description="`next_cursor` of the page before.")] | None = None
    page: (
        Annotated[
            int,
            Meta(
                ge=1,
                description="The page's number instead of a cursor, for the first 10,000 rows.",
                extra_json_schema={"maximum": 10_000},
            ),
        ]
        | None
    ) = None
    count: Annotated[Literal["exact"], Meta(description="Ask for `total` as well.")] | None = None
    sort: str = "-created_at"


class UserQuery(ListQuery, frozen=True, forbid_unknown_fields=True):
    """Which part of the list of accounts."""

    sort: Annotated[str, _sort(USER_SORT_FIELDS)] = "-created_at"


class ResourceQuery(ListQuery, frozen=True, forbid_unknown_fields=True):
    """Which resources, and which part of their list."""

    sort: Annotated[str, _sort(RESOURCE_SORT_FIELDS)] = "-created_at"
    type: Annotated[TypeName, Meta(description="Only resources of this type.")] | None = None
    owner: (
        Annotated[
            str,
            Meta(
                pattern="^(me|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})" + END,
                description="Only resources of this account; `me` is the caller's own.",
            ),
        ]
        | None
    ) = None


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No query parameters."""
