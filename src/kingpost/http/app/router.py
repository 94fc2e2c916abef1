"""Routes as data, and the router that matches requests to them."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

import msgspec

from kingpost.http.app.answers import JSON, Answer
from kingpost.http.app.call import Call
from kingpost.http.app.input import Rules
from kingpost.http.app.lists import NoQuery
from kingpost.problems import Problem

VERSION = "v1"
ME = "me"
"""The path segment that stands for the id of the caller's account, in every path below `/users/`."""
OWN_ID = ""
"""The value of a path parameter that is to become the id of the caller's account. No segment is empty."""

ANONYMOUS_BODY_LIMIT = 16 * 1024
"""Maximum number of bytes of a body that anyone may send."""


class Who(Enum):
    """The clients that may call a route. Features check further permissions themselves."""

    ANYONE = "anyone; credentials are ignored"
    ANYONE_OR_CALLER = "anyone; an access token allows more"
    ANYONE_MAYBE_CALLER = "anyone; a valid access token allows more, other credentials are ignored"
    CALLER = "anyone with an access token"
    ADMIN = "administrators"


NEED_CALLER = (Who.CALLER, Who.ADMIN)


class Tag(NamedTuple):
    """A group of operations in the documentation. Groups are sorted by `place`."""

    name: str
    description: str
    place: int


class Versioned(Protocol):
    """A stored thing that counts its changes."""

    @property
    def version(self) -> int: ...


class Route[S](msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint of a feature whose service has the type `S`.

    The router, the OpenAPI document and the access matrix are generated from routes.

    Attributes:
        method, path: `{name}` in a path is a parameter. Paths below `/api/` have no version.
        handler: the function that handles a validated call. Its arguments are the call and the service.
        who: the clients that may call the route.
        scopes: the scopes of which an API key needs one. If empty, API keys may not call the route.
        summary, description: texts for the documentation.
        query: the struct of the query parameters.
        body: the struct of the body; None if the route has no body.
        body_optional: whether the body may be absent.
        json_patch_example: an example of a JSON Patch, for PATCH routes.
        rules: a function from the service to the validation rules that a schema cannot express.
        result: the struct of the response; None if the response is empty.
        status: the status of a successful response.
        accepted: the struct of a response with status 202, if the work can be deferred.
        media_type: the media type of the response; `*/*` if it depends on the path.
        headers: names of response headers in addition to those of every response.
        target: finds what the path names, with its `version`, and checks that the caller may do this with it. It runs
            before the query and the body are parsed, and preconditions are evaluated against its result. A response
            to GET gets the entity tag of that version.
        representation: what a client sees of a target.
        problems: the problems that the other attributes do not imply.
        tag: the group of the documentation.
        is_hidden: whether the OpenAPI document omits the route.
    """

    method: str
    path: str
    handler: Callable[[Call, S], Awaitable[Answer]]
    who: Who
    scopes: tuple[str, ...] = ()
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
    target: Callable[[Call, S], Awaitable[Versioned]] | None = None
    representation: Callable[[Call, Any], Any] = lambda call, target: target
    problems: Sequence[type[Problem]] = ()
    is_hidden: bool = False

    def body_limit(self, configured: int) -> int:
        """Return the maximum size of a body in bytes, given the configured one."""
        return configured if self.who in NEED_CALLER else min(configured, ANONYMOUS_BODY_LIMIT)


class Endpoint(msgspec.Struct, frozen=True):
    """A route with the service instance that its handler uses."""

    route: Route[Any]
    service: Any
    rules: Rules | None


def bind[S](routes: Iterable[Route[S]], service: S) -> Sequence[Endpoint]:
    """Return the endpoints of a feature: its routes, bound to a service instance."""
    return [Endpoint(route, service, None if route.rules is None else route.rules(service)) for route in routes]


class _Node:
    """A node in the tree of path segments."""

    __slots__ = ("children", "endpoints", "parameter", "parameter_name", "stands_for")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.parameter_name = ""
        self.endpoints: dict[str, Endpoint] = {}
        self.stands_for: str | None = None
        """The parameter whose value is `OWN_ID` if a path leads through this node."""

    def step(self, segment: str) -> "_Node":
        """Return the child node for a segment of a route's path. Create it if necessary."""
        if not segment.startswith("{"):
            return self.children.setdefault(segment, _Node())
        self.parameter_name = segment[1:-1]
        self.parameter = self.parameter or _Node()
        return self.parameter


class Router:
    """Finds endpoints by path, with one dictionary lookup for each segment."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._root = _Node()
        for endpoint in endpoints:
            node = self._root
            for segment in endpoint.route.path.split("/")[1:]:
                node = node.step(segment)
            node.endpoints[endpoint.route.method] = endpoint
            if endpoint.route.method == "GET":
                node.endpoints["HEAD"] = endpoint
        # Both prefixes share one tree: /api/v1/users and /api/users are the same endpoint.
        api, versioned = self._root.children["api"], _Node()
        versioned.children = dict(api.children)
        api.children[VERSION] = versioned
        _let_me_stand_for_an_id(api.children["users"])

    def match(self, path: str) -> tuple[Mapping[str, Endpoint], dict[str, str]] | None:
        """Return the endpoints of a path by method, and the path's parameters; None if the path is unknown.

        The path is encoded as in the request, so `%2F` does not separate segments (RFC 3986, section 2.2).
        """
        segments = path.split("/")[1:]
        if "%" in path:
            segments = [unquote(segment) for segment in segments]
        node = self._root
        parameters: dict[str, str] = {}
        for segment in segments:
            child = node.children.get(segment)
            if child is None:
                child = node.parameter
                if child is None or not segment:
                    return None
                parameters[node.parameter_name] = segment
            elif child.stands_for is not None:
                parameters[child.stands_for] = OWN_ID
            node = child
        return (node.endpoints, parameters) if node.endpoints else None


def _let_me_stand_for_an_id(users: _Node) -> None:
    """Give `/users/me` all endpoints of `/users/{id}`, and of the paths below it."""
    ids, me = users.parameter, users.children[ME]
    assert ids is not None
    me.stands_for = users.parameter_name
    me.endpoints = ids.endpoints | me.endpoints
    me.children = ids.children
