"""Routes as data, and finding the one that a request means."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec

from kingpost.auth.scopes import Scope
from kingpost.http.app.call import JSON, Answer, Call
from kingpost.http.app.input import Rules
from kingpost.http.app.lists import NoQuery
from kingpost.problems import Problem

type Handler = Callable[[Call], Awaitable[Answer]]

VERSION = "v1"


class Who(Enum):
    """Who may call a route. What a caller may do with what it finds there is decided by the feature."""

    ANYONE = "anyone; credentials are not looked at"
    ANYONE_OR_CALLER = "anyone, and some more with an access token, which the handler looks at"
    CALLER = "anyone with an access token"
    ADMIN = "administrators"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint. The router, the OpenAPI document and the access matrix all come from these.

    Attributes:
        method, path: `{name}` in a path is a parameter. Paths in `/api/…` are written without a version.
        handler: called with all that is declared here already checked.
        who: who may call it.
        scope: what an API key must have been given for it; None: it is not for API keys.
        summary, description: for the documentation.
        query: the struct of its query parameters.
        body: the struct of its body; None where it takes none.
        body_optional: whether the body may be absent.
        rules: makes the rules of the body that a schema cannot state, out of the features.
        result: what it answers; None for nothing.
        status: the status of success.
        accepted: what it answers, with 202, where the rest is done later; None where that does not happen.
        media_type: what it answers in.
        headers: names of response headers beside the common ones.
        preconditions: whether it minds `If-Match`.
        problems: what can go wrong beside what follows from all else declared here.
        tag: the group it stands in.
        is_hidden: left out of the OpenAPI document.
    """

    method: str
    path: str
    handler: Handler
    who: Who
    scope: Scope | None = None
    summary: str
    tag: str
    description: str = ""
    query: type[msgspec.Struct] = NoQuery
    body: type[msgspec.Struct] | None = None
    body_optional: bool = False
    rules: Callable[[Any], Rules] | None = None
    result: type[msgspec.Struct] | None = None
    status: int = 200
    accepted: type[msgspec.Struct] | None = None
    media_type: str = JSON
    headers: Sequence[str] = ()
    preconditions: bool = False
    problems: Sequence[type[Problem]] = ()
    is_hidden: bool = False


class _Node:
    """A place in the tree of path segments."""

    __slots__ = ("children", "parameter", "parameter_name", "routes")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.parameter_name = ""
        self.routes: dict[str, Route] = {}

    def step(self, segment: str) -> "_Node":
        """The node behind a segment of a route's path, made if need be."""
        if not segment.startswith("{"):
            return self.children.setdefault(segment, _Node())
        self.parameter_name = segment[1:-1]
        self.parameter = self.parameter or _Node()
        return self.parameter


class Router:
    """Finds routes by path, in as many look-ups as the path has segments."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            node = self._root
            for segment in route.path.split("/")[1:]:
                node = node.step(segment)
            node.routes[route.method] = route
            if route.method == "GET":
                node.routes["HEAD"] = route
        # The same tree behind both names: /api/v1/users and /api/users are one endpoint.
        api, versioned = self._root.children["api"], _Node()
        versioned.children = dict(api.children)
        api.children[VERSION] = versioned

    def match(self, path: str) -> tuple[Mapping[str, Route], dict[str, str]] | None:
        """The routes of a path by method, and the path's parameters; None where the path is unknown."""
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
        return (node.routes, parameters) if node.routes else None
