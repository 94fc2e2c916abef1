"""One request and its answer, as handlers see them."""

from collections.abc import AsyncGenerator, Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from kingpost.accounts.administration import Administration
from kingpost.accounts.export.service import Exports
from kingpost.accounts.recovery.service import Recovery
from kingpost.accounts.registration.service import Registration
from kingpost.accounts.users.service import Accounts
from kingpost.accounts.verification.service import Verification
from kingpost.audit.service import AuditLog
from kingpost.auth.api_keys.key_format import PREFIX as KEY_PREFIX
from kingpost.auth.api_keys.service import APIKeys
from kingpost.auth.second_factor.service import SecondFactors
from kingpost.auth.sessions.service import Sessions
from kingpost.auth.signing_keys.ring import KeyRing
from kingpost.auth.signing_keys.rotation import KeyRotation
from kingpost.http.app.cursors import Cursors
from kingpost.jobs.runner import JobRunner
from kingpost.model import Origin, Principal
from kingpost.problems import Forbidden, Unauthenticated
from kingpost.resources.service import Resources
from kingpost.settings import Settings
from kingpost.storage import Storage

DEVICE_LENGTH = 200
"""Characters of a user agent that are worth keeping."""

if TYPE_CHECKING:
    from kingpost.http.app.router import Route

type Header = tuple[bytes, bytes]

JSON = "application/json"
NO_STORE: Header = (b"cache-control", b"no-store")
"""For answers that hold tokens."""
PRIVATE: Header = (b"cache-control", b"private, no-cache")
"""For what a signed-in caller reads: it may be kept, but is asked for again before each use."""
STRICT_CSP: Header = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class Health:
    """Whether this process takes new work. A draining one still answers, but wants no more."""

    def __init__(self) -> None:
        self.is_draining = False


class Features(msgspec.Struct, frozen=True):
    """All that handlers may call. Made once, by `main`."""

    settings: Settings
    storage: Storage
    accounts: Accounts
    registration: Registration
    verification: Verification
    recovery: Recovery
    sessions: Sessions
    second_factors: SecondFactors
    api_keys: APIKeys
    resources: Resources
    keys: KeyRing
    key_rotation: KeyRotation
    administration: Administration
    jobs: JobRunner
    audit_log: AuditLog
    exports: Exports
    cursors: Cursors
    health: Health
    openapi: Callable[[], bytes]


class Call:
    """A request that has been matched, authenticated, decoded and checked.

    `path` holds the path's parameters, `query` and `body` what the route says they are.
    """

    __slots__ = (
        "body",
        "client_address",
        "features",
        "headers",
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
        features: Features,
        route: "Route",
        scope: dict[str, Any],
        headers: dict[bytes, bytes],
        request_id: str,
    ) -> None:
        self.route = route
        self.request_id = request_id
        self.features = features
        self.method: str = scope["method"]
        self.raw_path: str = scope["path"]
        self.headers = headers
        client = scope.get("client")
        self.client_address: str | None = client[0] if client else None
        self.principal: Principal | None = None
        self.path: dict[str, str] = {}
        self.query: Any = None
        self.body: Any = None

    def header(self, name: bytes) -> str | None:
        """A header's value by its lower-case name; several lines are joined by commas (RFC 9110, section 5.2)."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    async def authenticate(self) -> Principal:
        """Tell who is calling, by an access token or an API key. Routes that need a caller have done so already.

        Raises:
            Unauthenticated: there is neither, or it is not good (any more).
            Forbidden: it is an API key, and the route is not within its scopes.
        """
        authorization = self.headers.get(b"authorization")
        if authorization is None:
            raise Unauthenticated("This needs an access token or an API key: Authorization: Bearer …")
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthenticated("Only bearer tokens are known here")
        text = token.strip().decode("latin-1")
        keepers = self.features.api_keys if text.startswith(KEY_PREFIX) else self.features.sessions
        principal = await keepers.authenticate(text)
        if principal.scopes is not None and self.route.scope not in principal.scopes:
            scope = self.route.scope
            raise Forbidden(f"This needs an API key with the scope {scope}" if scope else "This is not for API keys")
        self.principal = principal
        return principal

    @property
    def origin(self) -> Origin:
        """Where the request comes from."""
        agent = self.header(b"user-agent")
        return Origin(self.client_address, agent and agent[:DEVICE_LENGTH], self.request_id)

    @property
    def caller(self) -> Principal:
        """Who is calling.

        Raises:
            Unauthenticated: nobody is. Routes for callers never get this far.
        """
        if self.principal is None:
            raise Unauthenticated()
        return self.principal


class Answer:
    """A response. `headers` come beside those that every response has; `policy` is its Content-Security-Policy."""

    __slots__ = ("body", "headers", "media_type", "policy", "status")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        headers: Iterable[Header] = (),
        media_type: str = JSON,
        policy: Header = STRICT_CSP,
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.media_type = media_type
        self.policy = policy


class StreamedAnswer(Answer):
    """A response whose body is made while it is sent. What can be refused must be refused before there is one."""

    __slots__ = ("chunks",)

    def __init__(self, chunks: AsyncGenerator[bytes], headers: Iterable[Header], media_type: str = JSON) -> None:
        """`chunks` are asked for as fast as the client reads, and closed when it goes away."""
        super().__init__(200, b"", headers, media_type)
        self.chunks = chunks


def answer(value: Any, *headers: Header, status: int = 200) -> Answer:
    """A value as a JSON response."""
    return Answer(status, msgspec.json.encode(value), headers)
