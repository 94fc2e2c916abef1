"""Shared parts of the OpenAPI document: its introduction, and common parameters, headers and problems."""

from collections.abc import Iterable, Mapping, Sequence

from kingpost.http.app.problems import MEDIA_TYPE
from kingpost.http.app.schemas import ProblemBody
from kingpost.http.openapi.schemas import Schema, reference
from kingpost.problems import InvalidRequest, Problem, VersionMismatch

EXAMPLE_ID = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"
EXAMPLE_TIME = "2026-11-22T10:15:30.123Z"
STRING_SCHEMA: Schema = {"type": "string"}
# The example is inside of the schema. Swagger UI would prefill an example next to it and send it with each call.
ETAG_SCHEMA: Schema = {"type": "string", "examples": ['"3"']}

INFO: Schema = {
    "title": "Kingpost",
    "summary": "Accounts, sign-in and resources of any type.",
    "description": """\
**Paths.** `/api/<rest>` without a version is the same as `/api/v1/<rest>`. `HEAD` works wherever `GET` does.

**Sign-in.** Create an account, log in, and send the access token as `Authorization: Bearer …`. After a login on this \
page, the page does that for you. Access tokens expire after minutes. Use the refresh token to get new ones.

**Bodies** are UTF-8 JSON with `snake_case` names. Unknown fields and unknown query parameters are rejected. `PATCH` \
accepts a merge patch (RFC 7396), also as plain `application/json`: `null` removes a field, and absent fields stay \
unchanged. It also accepts a JSON Patch (RFC 6902) of `{"data": …}` or of the account. Ids are UUIDs, and times are \
RFC 3339 in UTC.

**Errors** are `application/problem+json` (RFC 9457). Each `type` is the address of a page that explains it. `errors` \
lists the faults of the request with their locations.

**Lists** contain `items` and `next_cursor`. Send that as `cursor` to get the next page, or follow the `Link` header. \
`count=exact` adds `total`.

**Versions.** An `ETag` identifies the version that you read: it is the version in quotes, `"3"`, or `"3-gzip"` if the \
response was compressed. Send it as `If-Match` with a change: if the version has changed since, the response is 412, \
and nothing is overwritten. Send it as `If-None-Match` with a read: if nothing has changed, the response is 304.\
""",
    "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
}

SECURITY_SCHEMES: Schema = {
    "bearerAuth": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `access_token` from a login or a refresh, or an API key (`kp_…`). A key can call the "
        "operations that name a scope, if it has this scope and its owner has the permission.",
    }
}

PARAMETERS: Mapping[str, Schema] = {
    "id": {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The id, a UUID.",
        "schema": {"type": "string", "format": "uuid", "examples": [EXAMPLE_ID]},
    },
    "account-id": {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The id of the account, a UUID. `me` stands for your own.",
        "schema": {"type": "string", "format": "uuid", "examples": [EXAMPLE_ID]},
    },
    "If-Match": {
        "name": "If-Match",
        "in": "header",
        "description": "The `ETag` that you read, or the `version` in quotes. If the version is no longer the same, "
        "the response is 412 and nothing changes. Weak tags (`W/`) never match.",
        "schema": ETAG_SCHEMA,
    },
    "If-None-Match": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The `ETag` that you read before. If the version is still the same, a read is answered with "
        "304, and a write with 412. `*` names every version.",
        "schema": ETAG_SCHEMA,
    },
    "X-Request-ID": {
        "name": "X-Request-ID",
        "in": "header",
        "description": "An id to find this request in logs. The response repeats it. Generated if absent.",
        "schema": STRING_SCHEMA,
    },
}

HEADERS: Mapping[str, Schema] = {
    "X-Request-ID": {
        "description": "The id of the request in logs.",
        "required": True,
        "schema": STRING_SCHEMA,
        "example": EXAMPLE_ID,
    },
    "Cache-Control": {
        "description": "Whether caches may store the response. Responses with tokens are always `no-store`.",
        "required": True,
        "schema": STRING_SCHEMA,
        "example": "no-store",
    },
    "ETag": {
        "description": "The version in quotes. If the response is compressed, the content coding follows the version.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9]+(-gzip|-zstd)?"$'},
        "example": '"3"',
    },
    "Location": {
        "description": "The path of the created object.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
        "example": f"/api/v1/resources/{EXAMPLE_ID}",
    },
    "Content-Disposition": {
        "description": "The response is a file to download.",
        "required": True,
        "schema": STRING_SCHEMA,
        "example": 'attachment; filename="audit.ndjson"',
    },
    "Link": {
        "description": "The next page (RFC 8288). Absent on the last page.",
        "schema": STRING_SCHEMA,
        "example": '</api/v1/resources?limit=20&cursor=gqRwYWdlAg>; rel="next"',
    },
    "WWW-Authenticate": {
        "description": "The authentication scheme.",
        "required": True,
        "schema": STRING_SCHEMA,
        "example": "Bearer",
    },
    "Retry-After": {
        "description": "Seconds to wait before the next attempt.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
        "example": 1,
    },
}
COMMON_HEADERS = ("X-Request-ID", "Cache-Control")
"""The documented headers of every response."""
HEADERS_BY_STATUS: Mapping[int, str] = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}


def parameter(name: str) -> Schema:
    """Return a reference to a shared parameter."""
    return {"$ref": f"#/components/parameters/{name}"}


def headers(*names: str) -> Schema:
    """Return references to shared headers, by name."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


NOT_MODIFIED: Schema = {"description": "The version is still the same.", "headers": headers(*COMMON_HEADERS, "ETag")}


def problem_response(problems: Sequence[type[Problem]]) -> Schema:
    """Return the response for problems with the same status."""
    status = problems[0].status
    extra = (HEADERS_BY_STATUS[status],) if status in HEADERS_BY_STATUS else ()
    return {
        "description": "\n\n".join(f"[{p.slug}](/problems/{p.slug}): {p.title}." for p in problems),
        "headers": headers(*COMMON_HEADERS, *extra),
        "content": {MEDIA_TYPE: {"schema": reference(ProblemBody), "examples": _examples(problems)}},
    }


def _examples(problems: Iterable[type[Problem]]) -> Schema:
    return {problem.slug: {"summary": problem.title, "value": _example(problem)} for problem in problems}


def _example(problem: type[Problem]) -> Schema:
    document: Schema = {
        "type": f"/problems/{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.title,
        "instance": f"/api/v1/resources/{EXAMPLE_ID}",
        "request_id": EXAMPLE_ID,
    }
    if problem is InvalidRequest:
        document["detail"] = "The field `data` is required"
        document["errors"] = [
            {"detail": "The field `data` is required", "code": "required", "pointer": "/data"},
            {"detail": "Unknown field. Known fields: data, type", "code": "unknown_field", "pointer": "/colour"},
        ]
    if problem is VersionMismatch:
        document["current"] = {
            "id": EXAMPLE_ID,
            "type": "movie",
            "owner_id": EXAMPLE_ID,
            "data": {"title": "Alien", "year": 1979},
            "version": 4,
            "created_at": EXAMPLE_TIME,
            "updated_at": EXAMPLE_TIME,
        }
    return document
