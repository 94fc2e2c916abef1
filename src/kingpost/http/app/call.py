"""One request, as handlers see it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from kingpost.http.app.cursors import Cursors
from kingpost.jsontools.strict import JSONLimits
from kingpost.model import Context, Origin, Principal
from kingpost.problems import Forbidden, Unauthenticated

DEVICE_LENGTH = 200
"""Characters of a user agent that are kept."""

if TYPE_CHECKING:
    from kingpost.http.app.router import Route

type Authenticate = Callable[[str], Awaitable[Principal]]
"""Return the caller that a credential stands for, or raise `Unauthenticated`."""


class Machine(msgspec.Struct, frozen=True):
    """What the HTTP machine offers to every handler, whatever the feature.

    Attributes:
        credentials: the kinds of bearer credentials, by the prefix of their text. The first match decides.
        cursors: writes and reads the cursors of lists.
        body_limit: bytes that a body may have.
        json_limits: how deep JSON may nest, and how many keys it may have.
    """

    credentials: Sequence[tuple[str, Authenticate]]
    cursors: Cursors
    body_limit: int
    json_limits: JSONLimits


class Call:
    """A request that matches a route.

    The application fills it in while it checks the request. When the handler runs, `path` holds the path's
    parameters, and `query` and `body` are values of the types that the route declares.
    """

    __slots__ = (
        "_context",
        "body",
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
        self._context: Context | None = None

    def header(self, name: bytes) -> str | None:
        """Return a header's value by its lower-case name. Several lines are joined by commas (RFC 9110, 5.2)."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    async def authenticate(self) -> Principal:
        """Identify the caller by an access token or an API key.

        The application does this for routes that need a caller. Handlers call it where credentials are optional.

        Raises:
            Unauthenticated: there are no credentials, or they are not valid (any more).
            Forbidden: the credential is an API key whose scopes do not include the route's.
        """
        authorization = self.headers.get(b"authorization")
        if authorization is None:
            raise Unauthenticated("This needs an access token or an API key: Authorization: Bearer …")
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthenticated("Only bearer tokens are known here")
        text = token.strip().decode("latin-1")
        authenticate = next(read for prefix, read in self.machine.credentials if text.startswith(prefix))
        principal = await authenticate(text)
        if principal.scopes is not None and self.route.scope not in principal.scopes:
            scope = self.route.scope
            raise Forbidden(f"This needs an API key with the scope {scope}" if scope else "This is not for API keys")
        self.principal = principal
        self._context = None
        return principal

    @property
    def context(self) -> Context:
        """Who acts in this request, and from where. It is built on first use: plain reads do without."""
        if self._context is None:
            agent = self.header(b"user-agent")
            origin = Origin(self.client_address, agent and agent[:DEVICE_LENGTH], self.request_id)
            self._context = Context(self.principal, origin)
        return self._context

    @property
    def caller(self) -> Principal:
        """The caller.

        Raises:
            Unauthenticated: the request has no credentials. Routes that need a caller never get this far.
        """
        if self.principal is None:
            raise Unauthenticated()
        return self.principal
