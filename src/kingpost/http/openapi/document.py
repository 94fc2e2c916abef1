"""Generate the OpenAPI 3.1 document from routes and their types."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from kingpost import __version__
from kingpost.http.app.answers import JSON
from kingpost.http.app.application import IDS, PROBES
from kingpost.http.app.body import JSON_PATCH, MERGE_PATCH
from kingpost.http.app.router import VERSION, Route, Who
from kingpost.http.app.schemas import JSONPatchOperation, ProblemBody
from kingpost.http.openapi import parts
from kingpost.http.openapi.schemas import Schema, example, query_parameters, reference, schemas
from kingpost.jsontools.json_patch import MAX_OPERATIONS
from kingpost.problems import (
    Forbidden,
    HeadersTooLarge,
    HttpsRequired,
    InternalError,
    InvalidRequest,
    NotAcceptable,
    Problem,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
    VersionMismatch,
)

COMMON_PROBLEMS = (InvalidRequest, NotAcceptable, HeadersTooLarge, InternalError, Unavailable)
SECURITY: Mapping[Who, list[Schema]] = {
    Who.ANYONE: [],
    Who.ANYONE_OR_CALLER: [{}, {"bearerAuth": []}],
    Who.ANYONE_MAYBE_CALLER: [{}, {"bearerAuth": []}],
    Who.CALLER: [{"bearerAuth": []}],
    Who.ADMIN: [{"bearerAuth": []}],
}

IGNORE_BAD_CREDENTIALS = (Who.ANYONE, Who.ANYONE_MAYBE_CALLER)


def document(routes: Sequence[Route[Any]], public_url: str, version: str = __version__) -> dict[str, Any]:
    """Return the OpenAPI document.

    Args:
        routes: all routes. Hidden ones are omitted.
        public_url: the origin of the server that clients use.
        version: the version of the described release.
    """
    shown = [route for route in routes if not route.is_hidden]
    structs = {s for route in shown for s in (route.body, route.result, route.accepted) if s is not None}
    components = schemas(sorted({*structs, JSONPatchOperation, ProblemBody}, key=lambda struct: struct.__name__))
    paths: dict[str, Schema] = {}
    for route in shown:
        paths.setdefault(public_path(route), {})[route.method.lower()] = _operation(route, components)
    return {
        "openapi": "3.1.0",
        "info": {**parts.INFO, "version": version},
        "servers": [{"url": public_url}],
        "tags": _tags(shown),
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": _problem_responses(shown) | {"not-modified": parts.NOT_MODIFIED},
            "parameters": parts.PARAMETERS,
            "headers": parts.HEADERS,
            "securitySchemes": parts.SECURITY_SCHEMES,
        },
    }


def _tags(routes: Iterable[Route[Any]]) -> list[Schema]:
    tags = sorted({route.tag for route in routes}, key=lambda tag: tag.place)
    return [{"name": tag.name, "description": tag.description} for tag in tags]


def public_path(route: Route[Any]) -> str:
    """Return the path of a route with the version, as the document shows it."""
    rest = route.path.removeprefix("/api/")
    return route.path if rest == route.path else f"/api/{VERSION}/{rest}"


def problems_of(route: Route[Any]) -> dict[int, tuple[type[Problem], ...]]:
    """Return the problems of a route by status: those that it declares, and those that its other attributes imply."""
    problems: set[type[Problem]] = {*COMMON_PROBLEMS, *route.problems}
    if route.path not in PROBES:
        problems.add(HttpsRequired)
    if route.who not in IGNORE_BAD_CREDENTIALS:
        problems |= {Unauthenticated, Forbidden}  # An API key may lack the scope, or be excluded from the route.
    if route.body is not None:
        problems |= {TooLarge, UnsupportedMediaType}
    if route.target is not None:
        problems.add(VersionMismatch)
    by_status: dict[int, tuple[type[Problem], ...]] = {}
    for problem in sorted(problems, key=lambda problem: (problem.status, problem.slug)):
        by_status[problem.status] = (*by_status.get(problem.status, ()), problem)
    return by_status


def _operation(route: Route[Any], components: Mapping[str, Schema]) -> Schema:
    who = f"Who may call it: {route.who.value}."
    if route.who not in IGNORE_BAD_CREDENTIALS:
        scopes = " or ".join(f"`{scope}`" for scope in route.scopes)
        who += f" With an API key: scope {scopes}." if scopes else " Not with an API key."
    operation: Schema = {
        "operationId": route.handler.__name__,
        "tags": [route.tag.name],
        "summary": route.summary,
        "description": f"{route.description}\n\n{who}" if route.description else who,
        "security": SECURITY[route.who],
        "parameters": [*_path_parameters(route), *query_parameters(route.query), *_header_parameters(route)],
        "responses": _responses(route, components),
    }
    if route.body is not None:
        operation["requestBody"] = {"required": not route.body_optional, "content": _content(route, components)}
    return operation


def _content(route: Route[Any], components: Mapping[str, Schema]) -> Schema:
    """Return the bodies that a route accepts, by media type."""
    assert route.body is not None
    schema = reference(route.body)
    content = {"schema": schema, "example": example(schema, components)}
    if route.method != "PATCH":
        return {JSON: content}
    operations = {"type": "array", "maxItems": MAX_OPERATIONS, "items": reference(JSONPatchOperation)}
    json_patch = {"schema": operations, "example": [*route.json_patch_example]}
    return {MERGE_PATCH: content, JSON: content, JSON_PATCH: json_patch}


def _path_parameters(route: Route[Any]) -> list[Schema]:
    names = [segment[1:-1] for segment in route.path.split("/") if segment.startswith("{")]
    text = {"in": "path", "required": True, "schema": {"type": "string"}}
    id_name = "account-id" if route.path.startswith("/api/users/") else "id"
    return [parts.parameter(id_name) if name in IDS else {"name": name, **text} for name in names]


def _header_parameters(route: Route[Any]) -> list[Schema]:
    names = ["X-Request-ID"] if route.target is None else ["X-Request-ID", "If-Match", "If-None-Match"]
    return [parts.parameter(name) for name in names]


def _responses(route: Route[Any], components: Mapping[str, Schema]) -> Schema:
    success: Schema = {
        "description": "The request succeeded.",
        "headers": parts.headers(*parts.COMMON_HEADERS, *route.headers),
    }
    if route.result is not None:
        schema = reference(route.result)
        success["description"] = route.result.__doc__
        success["content"] = {route.media_type: {"schema": schema, "example": example(schema, components)}}
    responses = {str(route.status): success}
    if route.accepted is not None:
        responses["202"] = _accepted(route.accepted, components)
    if route.target is not None and route.method == "GET":
        responses["304"] = {"$ref": "#/components/responses/not-modified"}
    for status, problems in problems_of(route).items():
        responses[str(status)] = {"$ref": f"#/components/responses/{_name(problems)}"}
    return responses


def _accepted(struct: type[msgspec.Struct], components: Mapping[str, Schema]) -> Schema:
    schema = reference(struct)
    content = {JSON: {"schema": schema, "example": example(schema, components)}}
    return {"description": struct.__doc__, "headers": parts.headers(*parts.COMMON_HEADERS), "content": content}


def _problem_responses(routes: Iterable[Route[Any]]) -> dict[str, Schema]:
    """Return a response for each set of problems that share a status on a route."""
    sets = {problems for route in routes for problems in problems_of(route).values()}
    return {_name(problems): parts.problem_response(problems) for problems in sorted(sets, key=_name)}


def _name(problems: Iterable[type[Problem]]) -> str:
    return "-or-".join(problem.slug for problem in problems)
