"""Access tokens: JWTs that identify a caller for ten minutes (RFC 7519, in the profile of RFC 9068)."""

import time
from collections.abc import Callable, Collection, Iterable

import msgspec

from kingpost import base64url, clock
from kingpost.auth.signing_keys.ring import KeyRing, SigningKey
from kingpost.model import Principal
from kingpost.problems import Unauthenticated

LIFETIME = 600
"""Seconds for which an access token is valid."""

MAX_LENGTH = 4096
"""Maximum characters of a token. Ours have about 600, so longer ones are rejected without parsing."""

CLOCK_SKEW = 60
"""Seconds by which another node's clock may be ahead of this one's. This does not extend the lifetime of tokens."""

TYPE = "at+jwt"
CLIENT = "kingpost"


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The complete JOSE header. Any other parameter (`crit`, `jwk`, `jku`, `b64`, `zip` …) is rejected."""

    alg: str
    kid: str
    typ: str


class Claims(msgspec.Struct, frozen=True):
    """The claims of a token (RFC 9068, section 2.2). `sid` is the session's id, as in OpenID Connect."""

    iss: str
    aud: str
    sub: str
    sid: str
    client_id: str
    iat: int
    exp: int
    jti: str
    roles: tuple[str, ...]


class VerifiedToken(msgspec.Struct, frozen=True, gc=False):
    """The contents of a verified token. Times are in seconds since 1970."""

    principal: Principal
    valid_from: float
    expires_at: float
    key_id: str


class AccessTokens:
    """Issues and verifies access tokens."""

    def __init__(
        self,
        keys: KeyRing,
        issuer: str,
        accepts_issuer: Callable[[str], bool],
        lifetime: int = LIFETIME,
        *,
        seconds: Callable[[], float] = time.time,
    ) -> None:
        """Issue and accept the tokens of one server.

        Args:
            keys: a ring that has been loaded.
            issuer: the public URL, which is the issuer and the audience of new tokens.
            accepts_issuer: returns whether tokens of an issuer are valid here. A server can have several URLs.
            lifetime: the lifetime of new tokens, in seconds.
            seconds: the clock, in seconds since 1970.
        """
        self._keys = keys
        self._issuer = issuer
        self._accepts_issuer = accepts_issuer
        self.lifetime = lifetime
        self._seconds = seconds

    def issue(self, user_id: str, session_id: str, roles: Iterable[str]) -> str:
        """Return a new token for a session, signed with the ring's signing key."""
        key = self._keys.signing_key()
        iat = int(self._seconds())
        claims = Claims(
            iss=self._issuer, aud=self._issuer, sub=user_id, sid=session_id, client_id=CLIENT,
            iat=iat, exp=iat + self.lifetime, jti=clock.unique(), roles=tuple(roles),
        )  # fmt: skip
        return key.sign(msgspec.structs.asdict(_header(key)), msgspec.json.encode(claims))

    async def verify(self, token: str) -> VerifiedToken:
        """Verify a token and return its contents. Whether its session has ended is not checked here.

        A token must have exactly the form that `issue` writes: a JWS in compact form with exactly this header. Its
        form, issuer and times are checked before its key is looked up. The algorithm is the key's own, and is never
        taken from the header (RFC 8725, section 3.1).

        Raises:
            Unauthenticated: the token is malformed, forged, expired, or not for this server.
            Unavailable: the key is not loaded, and the database does not answer.
        """
        header, claims = _parse(token)
        self._check(claims)
        key = await self._keys.find(header.kid)
        if key is None or header != _header(key) or not key.verify(token):
            raise _refusal()
        return VerifiedToken(
            Principal(claims.sub, claims.sid, frozenset(claims.roles)), claims.iat - CLOCK_SKEW, claims.exp, key.id
        )

    def when_keys_go(self, callback: Callable[[Collection[str]], None]) -> None:
        """Register a callback that gets the ids of removed keys, whose tokens are no longer valid."""
        self._keys.when_gone(callback)

    def _check(self, claims: Claims) -> None:
        """Check issuer, audience and times (RFC 7519, section 4.1).

        Raises:
            Unauthenticated: the token is not for this server, or not valid now.
        """
        now = self._seconds()
        if claims.aud != claims.iss or not self._accepts_issuer(claims.iss):
            raise _refusal()
        if claims.iat > now + CLOCK_SKEW:
            raise _refusal()
        if claims.exp <= now:
            raise Unauthenticated("The access token has expired")


class VerifiedTokens:
    """A cache of verified tokens, so that each process verifies a signature only once.

    Verifying a signature costs more than the rest of a cached read. The size is bounded, and the oldest entry is
    evicted first.
    """

    def __init__(self, max_tokens: int = 20_000, *, seconds: Callable[[], float] = time.time) -> None:
        """Create an empty cache of up to `max_tokens`. `seconds` is the clock, in seconds since 1970."""
        self._max_tokens = max_tokens
        self._seconds = seconds
        self._tokens: dict[str, VerifiedToken] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def remembered(self, token: str) -> VerifiedToken | None:
        """Return the contents of a cached token, or None if it is not cached or not valid now.

        A token of the future was cached before the clock was set back, and would stay valid for far too long.
        """
        verified = self._tokens.get(token)
        if verified is not None and verified.valid_from <= self._seconds() < verified.expires_at:
            return verified
        return None

    def remember(self, token: str, verified: VerifiedToken) -> None:
        """Cache a verified token."""
        if token in self._tokens:
            return
        self._evict()
        self._tokens[token] = verified

    def forget(self, key_ids: Collection[str]) -> None:
        """Evict the tokens that were signed with these keys."""
        self._tokens = {text: token for text, token in self._tokens.items() if token.key_id not in key_ids}

    def _evict(self) -> None:
        """Evict the oldest token if the cache is full, and up to two expired ones, so that the cache shrinks in use."""
        now = self._seconds()
        for _ in range(2):
            oldest = next(iter(self._tokens), None)
            if oldest is None:
                return
            if len(self._tokens) >= self._max_tokens or self._tokens[oldest].expires_at <= now:
                del self._tokens[oldest]


def _header(key: SigningKey) -> Header:
    """Return the header of all tokens that a key signs."""
    return Header(alg=key.algorithm, kid=key.id, typ=TYPE)


def _parse(token: str) -> tuple[Header, Claims]:
    """Decode the header and the claims of a token without verifying its signature.

    Raises:
        Unauthenticated: the token does not have exactly the form that `issue` writes.
    """
    segments = token.split(".", 3) if len(token) <= MAX_LENGTH else ()
    if len(segments) != 3:
        raise _refusal()
    try:
        header = msgspec.json.decode(base64url.decode(segments[0]), type=Header)
        claims = msgspec.json.decode(base64url.decode(segments[1]), type=Claims)
        base64url.decode(segments[2])
    # The nesting depth at which the decoder raises RecursionError depends on the platform.
    except (ValueError, RecursionError):
        raise _refusal() from None
    # Accept only the canonical encoding, without white space, escapes and repeated names.
    if base64url.encode(msgspec.json.encode(header)) != segments[0]:
        raise _refusal()
    return header, claims


def _refusal() -> Unauthenticated:
    return Unauthenticated("The access token is malformed, forged, or not for this server")
