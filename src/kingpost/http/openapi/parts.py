"""What the OpenAPI document says once: the conventions, and the parameters, headers and problems that many share."""

from collections.abc import Iterable, Mapping, Sequence

from kingpost.http.app.problems import MEDIA_TYPE
from kingpost.http.app.schemas import ProblemBody
from kingpost.http.openapi.schemas import Schema, reference
from kingpost.problems import InvalidRequest, Problem, VersionMismatch

AN_ID = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"
A_TIME = "2026-11-22T10:15:30.123Z"
TEXT: Schema = {"type": "string"}
# An example beside the schema, rather than in it, would be filled in on the page and sent with each call.
A_TAG: Schema = {"type": "string", "examples": ['"3"']}

INFO: Schema = {
    "title": "Kingpost",
    "summary": "Accounts, sign-in and your own resources.",
    "description": """\
**Paths.** `/api/<rest>` without a version is the same as `/api/v1/<rest>`. `HEAD` works wherever `GET` does.

**Signing in.** Create an account, log in, and send the access token as `Authorization: Bearer …`. On this page, a \
login does that for you. An access token lives for minutes: exchange the refresh token for new ones.

**Bodies** are UTF-8 JSON with `snake_case` names. Unknown members and unknown query parameters are refused. \
`PATCH` takes a merge patch (RFC 7396: `null` removes a member, absence leaves it), also as plain `application/json`, \
or a JSON Patch (RFC 6902) of `{"data": …}` or of the account. Ids are UUIDs, times are RFC 3339 in UTC.

**Errors** are `application/problem+json` (RFC 9457). Each `type` leads to a page that explains it; `errors` lists \
all the faults of the input, each with the place where it is.

**Lists** hold `items` and `next_cursor`. Send that as `cursor` to get the next page, or follow the `Link` header; \
`count=exact` adds `total`.

**Versions.** An `ETag` names the version that was read. Sent back as `If-Match`, it makes a change fail with 412 \
rather than overwrite someone else's; sent as `If-None-Match`, it makes a read answer 304 when nothing has changed.\
""",
    "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
}

SECURITY_SCHEMES: Schema = {
    "bearerAuth": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `access_token` that a login or a refresh answers with, or an API key (`kp_…`): "
        "wherever an operation names a scope, a key that has it does as well, as far as its owner may.",
    }
}

PARAMETERS: Mapping[str, Schema] = {
    "id": {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "Which one.",
        "schema": {"type": "string", "format": "uuid", "examples": [AN_ID]},
    },
    "If-Match": {
        "name": "If-Match",
        "in": "header",
        "description": "The `ETag` that was read: change it only if it still has that version.",
        "schema": A_TAG,
    },
    "If-None-Match": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The `ETag` that was read before: answer 304 if it still has that version.",
        "schema": A_TAG,
    },
    "X-Request-ID": {
        "name": "X-Request-ID",
        "in": "header",
        "description": "A name for this request, to find it in logs; the response repeats it. One is made if absent.",
        "schema": TEXT,
    },
}

HEADERS: Mapping[str, Schema] = {
    "X-Request-ID": {"description": "The request's name in logs.", "required": True, "schema": TEXT, "example": AN_ID},
    "Cache-Control": {
        "description": "Who may keep it. Tokens are always `no-store`.",
        "required": True,
        "schema": TEXT,
        "example": "no-store",
    },
    "ETag": {
        "description": "The version, in quotes.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
        "example": '"3"',
    },
    "Location": {
        "description": "Where the new one is.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
        "example": f"/api/v1/resources/{AN_ID}",
    },
    "Content-Disposition": {
        "description": "It is a file to be kept.",
        "required": True,
        "schema": TEXT,
        "example": 'attachment; filename="audit.ndjson"',
    },
    "Link": {
        "description": "The next page (RFC 8288); absent on the last one.",
        "schema": TEXT,
        "example": '</api/v1/resources?limit=20&cursor=gqRwYWdlAg>; rel="next"',
    },
    "WWW-Authenticate": {
        "description": "The scheme that is expected.",
        "required": True,
        "schema": TEXT,
        "example": "Bearer",
    },
    "Retry-After": {
        "description": "Seconds after which to try again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
        "example": 1,
    },
}
ALWAYS = ("X-Request-ID", "Cache-Control")
"""The headers of every response that the document describes."""
OF_STATUS: Mapping[int, str] = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}


def parameter(name: str) -> Schema:
    """A reference to a shared parameter."""
    return {"$ref": f"#/components/parameters/{name}"}


def headers(*names: str) -> Schema:
    """References to shared headers, by name."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


NOT_MODIFIED: Schema = {"description": "It still has the version that you named.", "headers": headers(*ALWAYS, "ETag")}


def problem_response(problems: Sequence[type[Problem]]) -> Schema:
    """The response for problems of one status."""
    status = problems[0].status
    extra = (OF_STATUS[status],) if status in OF_STATUS else ()
    return {
        "description": "\n\n".join(f"[{p.slug}](/problems/{p.slug}): {p.title}." for p in problems),
        "headers": headers(*ALWAYS, *extra),
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
        "instance": f"/api/v1/resources/{AN_ID}",
        "request_id": AN_ID,
    }
    if problem is InvalidRequest:
        document["detail"] = "This member is missing"
        document["errors"] = [
            {"detail": "This member is missing", "code": "required", "pointer": "/data"},
            {"detail": "There is no such parameter", "code": "unknown_parameter", "parameter": "colour"},
        ]
    if problem is VersionMismatch:
        document["current"] = {
            "id": AN_ID,
            "type": "movie",
            "owner_id": AN_ID,
            "data": {"title": "Alien", "year": 1979},
            "version": 4,
            "created_at": A_TIME,
            "updated_at": A_TIME,
        }
    return document
