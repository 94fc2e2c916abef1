"""Routes as data, and finding the one that a request means."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from kingpost.http.app.answers import JSON, Answer
from kingpost.http.app.call import Call
from kingpost.http.app.input import Rules
from kingpost.http.app.lists import NoQuery
from kingpost.problems import Problem

VERSION = "v1"


class Who(Enum):
    """Who may call a route. What a caller may do with what it finds there is decided by the feature."""

    ANYONE = "anyone; credentials are not looked at"
    ANYONE_OR_CALLER = "anyone; an access token allows more"
    CALLER = "anyone with an access token"
    ADMIN = "administrators"


class Tag(NamedTuple):
    """A group of operations in the documentation. Groups are shown in the order of `place`."""

    name: str
    description: str
    place: int


class Route[S](msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint of a feature whose service is an `S`. Router, OpenAPI document and access matrix are made of these.

    Attributes:
        method, path: `{name}` in a path is a parameter. Paths below `/api/` are written without a version.
        handler: called with the call and the service, after all that is declared here has been checked.
        who: who may call it.
        scope: the scope that an API key needs; None: the route is closed to API keys.
        summary, description: for the documentation.
        query: the struct of its query parameters.
        body: the struct of its body; None if it takes none.
        body_optional: whether the body may be absent.
        json_patch_example: an example of a JSON Patch, for routes whose method is PATCH.
        rules: returns the rules of the body that a schema cannot express, given the service.
        result: the struct of the answer; None if the answer is empty.
        status: the status of success.
        accepted: the struct of the answer with status 202, if the work may be done later.
        media_type: the media type of the answer.
        headers: names of response headers beside those of every response.
        preconditions: whether `If-Match` is evaluated.
        problems: what can go wrong beside what follows from the rest of the declaration.
        tag: the group of the documentation in which it is shown.
        is_hidden: whether it is left out of the OpenAPI document.
    """

    method: str
    path: str
    handler: Callable[[Call, S], Awaitable[Answer]]
    who: Who
    scope: str | None = None
    summary: str
    tag: Tag
    description: str = ""
    query: type[msgspec.Struct] = NoQuery
    body: type[msgspec.Struct] | None = None
    body_optional: bool = False
    json_patch_example: Sequence[Mapping[str, Any]] = ()
    rules: Callable[[S], Rules] | None = None
    result: type[msgspec.Struct] | None = None
    status: int = 200
    accepted: type[msgspec.Struct] | None = None
    media_type: str = JSON
    headers: Sequence[str] = ()
    preconditions: bool = False
    problems: Sequence[type[Problem]] = ()
    is_hidden: bool = False


class Endpoint(msgspec.Struct, frozen=True):
    """A route together with the running service that its handler calls."""

    route: Route[Any]
    service: Any
    rules: Rules | None


def bind[S](routes: Iterable[Route[S]], service: S) -> Sequence[Endpoint]:
    """Return the endpoints of a feature: its routes, bound to its service."""
    return [Endpoint(route, service, None if route.rules is None else route.rules(service)) for route in routes]


class _Node:
    """A place in the tree of path segments."""

    __slots__ = ("children", "endpoints", "parameter", "parameter_name")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.parameter_name = ""
        self.endpoints: dict[str, Endpoint] = {}

    def step(self, segment: str) -> "_Node":
        """The node behind a segment of a route's path, made if need be."""
        if not segment.startswith("{"):
            return self.children.setdefault(segment, _Node())
        self.parameter_name = segment[1:-1]
        self.parameter = self.parameter or _Node()
        return self.parameter


class Router:
    """Finds endpoints by path, with one dictionary look-up for each segment of the path."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._root = _Node()
        for endpoint in endpoints:
            node = self._root
            for segment in endpoint.route.path.split("/")[1:]:
                node = node.step(segment)
            node.endpoints[endpoint.route.method] = endpoint
            if endpoint.route.method == "GET":
                node.endpoints["HEAD"] = endpoint
        # The same tree under both names: /api/v1/users and /api/users are one endpoint.
        api, versioned = self._root.children["api"], _Node()
        versioned.children = dict(api.children)
        api.children[VERSION] = versioned

    def match(self, path: str) -> tuple[Mapping[str, Endpoint], dict[str, str]] | None:
        """Return the endpoints of a path by method, and the path's parameters; None if the path is unknown."""
        node = self._root
        parameters: dict[str, str] = {}
        for segment in path.split("/")[1:]:
            child = node.children.get(segment)
            if child is None:
                child = node.parameter
                if child is None:
                    return None
                parameters[node.parameter_name] = segment
            node = child
        return (node.endpoints, parameters) if node.endpoints else None
