"""A request as handlers see it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from kingpost.http.app.cursors import Cursors
from kingpost.jsontools.strict import JSONLimits
from kingpost.jsontools.worker import Worker
from kingpost.model import Context, Origin, Principal
from kingpost.problems import Unauthenticated

DEVICE_LENGTH = 200
"""Maximum number of characters that are stored of a user agent."""

if TYPE_CHECKING:
    from kingpost.http.app.router import Route

type Authenticate = Callable[[str], Awaitable[Principal]]
"""Return the caller that a credential identifies, or raise `Unauthenticated`."""


class Credential(NamedTuple):
    """A kind of bearer credential.

    Attributes:
        prefix: the start of all credentials of this kind.
        name: the kind in a sentence, with its article.
        authenticate: authenticates a credential of this kind.
    """

    prefix: str
    name: str
    authenticate: Authenticate


class Machine(msgspec.Struct, frozen=True):
    """Shared parts of the HTTP layer that every handler can use.

    Attributes:
        credentials: the kinds of credentials. The first one with a matching prefix is used.
        cursors: encodes and decodes the cursors of lists.
        body_limit: maximum size of a body in bytes.
        json_limits: limits of the JSON in a body.
        json_worker: handles the JSON of large bodies.
    """

    credentials: Sequence[Credential]
    cursors: Cursors
    body_limit: int
    json_limits: JSONLimits
    json_worker: Worker


class Call:
    """A request that matches a route.

    The application sets the attributes while it validates the request. When the handler is called, `path` contains
    the path parameters, and `query` and `body` have the types that the route declares. `body_size` is in bytes.
    `target` is what the route's function of that name has found. `versions` are those that the preconditions allow a
    write to change; None allows any.
    """

    __slots__ = (
        "_context",
        "body",
        "body_size",
        "client_address",
        "headers",
        "machine",
        "method",
        "path",
        "principal",
        "query",
        "raw_path",
        "request_id",
        "route",
        "target",
        "versions",
    )

    def __init__(
        self,
        machine: Machine,
        route: "Route[Any]",
        scope: dict[str, Any],
        headers: dict[bytes, bytes],
        request_id: str,
    ) -> None:
        self.machine = machine
        self.route = route
        self.request_id = request_id
        self.method: str = scope["method"]
        self.raw_path: str = scope["path"]
        self.headers = headers
        client = scope.get("client")
        self.client_address: str | None = client[0] if client else None
        self.principal: Principal | None = None
        self.path: dict[str, str] = {}
        self.query: Any = None
        self.body: Any = None
        self.target: Any = None
        self.versions: tuple[int, ...] | None = None
        self.body_size = 0
        self._context: Context | None = None

    def header(self, name: bytes) -> str | None:
        """Return a header's value by its lower-case name. Several lines are joined by commas (RFC 9110, 5.2)."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    async def authenticate(self) -> Principal:
        """Identify the caller by a bearer credential.

        The application does this for routes that require a caller. Handlers of other routes call it if credentials are
        optional.

        Raises:
            Unauthenticated: the credentials are missing, invalid, expired or revoked.
            Forbidden: the credential is limited to scopes, and none of the route's scopes is among them.
        """
        authorization = self.headers.get(b"authorization")
        if authorization is None:
            names = " or ".join(credential.name for credential in self.machine.credentials)
            raise Unauthenticated(f"Send {names} in the header Authorization: Bearer <token>")
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthenticated("The Authorization header must have the form Bearer <token>")
        text = token.strip().decode("latin-1")
        for credential in self.machine.credentials:  # This runs for each request: `next` with a generator is slower.
            if text.startswith(credential.prefix):
                break
        principal = await credential.authenticate(text)
        principal.require_scope(*self.route.scopes)
        self.principal = principal
        self._context = None
        return principal

    @property
    def context(self) -> Context:
        """The actor and origin of this request. Created on first use, because most reads do not need it."""
        if self._context is None:
            origin = Origin(self.client_address, _device(self.headers.get(b"user-agent")), self.request_id)
            self._context = Context(self.principal, origin)
        return self._context

    @property
    def caller(self) -> Principal:
        """Return the authenticated caller.

        Raises:
            Unauthenticated: the caller is not authenticated. Handlers of routes that require a caller never see this.
        """
        if self.principal is None:
            raise Unauthenticated()
        return self.principal


def _device(agent: bytes | None) -> str | None:
    """Return a user agent as it was sent. Without control and formatting characters, which could disguise it."""
    if not agent:
        return None
    try:
        text = agent.decode()
    except UnicodeDecodeError:
        text = agent.decode("latin-1")
    return "".join(character for character in text if character.isprintable())[:DEVICE_LENGTH] or None
