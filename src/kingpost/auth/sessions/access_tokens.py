"""Access tokens: JWTs that say who calls, for ten minutes (RFC 7519, in the profile of RFC 9068)."""

import time
from collections.abc import Callable, Collection, Iterable

import msgspec

from kingpost import base64url, clock
from kingpost.auth.signing_keys.ring import KeyRing, SigningKey
from kingpost.model import Principal
from kingpost.problems import Unauthenticated

LIFETIME = 600
"""Seconds for which an access token is good."""

LONGEST = 4096
"""Characters. Ours have about 600; nothing longer is worth a look."""

CLOCK_SKEW = 60
"""Seconds by which another node's clock may be ahead of this one's. No token lives longer for it."""

TYPE = "at+jwt"
CLIENT = "kingpost"


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JOSE header, in full. Whatever else one may hold (`crit`, `jwk`, `jku`, `b64`, `zip` …) is refused."""

    alg: str
    kid: str
    typ: str


class Claims(msgspec.Struct, frozen=True):
    """What a token says (RFC 9068, section 2.2). `sid` is the session, as in OpenID Connect."""

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
    """What is left of a token once it has been verified. `expires_at` is in seconds since 1970."""

    principal: Principal
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
        """Issue and accept tokens of one server.

        Args:
            keys: a ring that has been loaded.
            issuer: the public address, which is issuer and audience of what is issued.
            accepts_issuer: whose tokens are good here: nodes may know the server by several addresses.
            lifetime: seconds.
            seconds: the clock, in seconds since 1970.
        """
        self._keys = keys
        self._issuer = issuer
        self._accepts_issuer = accepts_issuer
        self.lifetime = lifetime
        self._seconds = seconds

    def issue(self, user_id: str, session_id: str, roles: Iterable[str]) -> str:
        """A new token for a session of a user, signed with the ring's present key."""
        key = self._keys.signing_key()
        iat = int(self._seconds())
        claims = Claims(
            iss=self._issuer, aud=self._issuer, sub=user_id, sid=session_id, client_id=CLIENT,
            iat=iat, exp=iat + self.lifetime, jti=clock.unique(), roles=tuple(roles),
        )  # fmt: skip
        return key.sign(msgspec.structs.asdict(_header(key)), msgspec.json.encode(claims))

    async def verify(self, token: str) -> VerifiedToken:
        """Check a token and tell whose it is. Whether its session still lives is another question.

        A token must look exactly as `issue` writes it: JWS compact form, this header and no other. What its
        form, issuer or time condemns is refused before any key is looked up. The algorithm is the key's own
        and never taken from the header (RFC 8725, section 3.1).

        Raises:
            Unauthenticated: it is malformed, forged, expired, or not for this server.
            Unavailable: its key is unknown here, and the database does not answer.
        """
        header, claims = _parse(token)
        self._check(claims)
        key = await self._keys.find(header.kid)
        if key is None or header != _header(key) or not key.verify(token):
            raise _refusal()
        return VerifiedToken(Principal(claims.sub, claims.sid, frozenset(claims.roles)), claims.exp, key.id)

    def when_keys_go(self, callback: Callable[[Collection[str]], None]) -> None:
        """Have something called with the ids of keys whose tokens are good no longer."""
        self._keys.when_gone(callback)

    def _check(self, claims: Claims) -> None:
        """Refuse what is not for this server or not for this time (RFC 7519, section 4.1)."""
        now = self._seconds()
        if claims.aud != claims.iss or not self._accepts_issuer(claims.iss):
            raise _refusal()
        if claims.iat > now + CLOCK_SKEW:
            raise _refusal()
        if claims.exp <= now:
            raise Unauthenticated("The access token has expired")


class VerifiedTokens:
    """The tokens that this process has verified, so that each signature is checked once.

    Checking one costs more than all the rest of a cached read. Memory is bounded; the first to come is the
    first to go.
    """

    def __init__(self, most: int = 20_000, *, seconds: Callable[[], float] = time.time) -> None:
        """Remember so many tokens at most. `seconds` is the clock, in seconds since 1970."""
        self._most = most
        self._seconds = seconds
        self._tokens: dict[str, VerifiedToken] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def remembered(self, token: str) -> VerifiedToken | None:
        """What a token said when it was verified, or None if it is not remembered or has expired."""
        verified = self._tokens.get(token)
        if verified is not None and verified.expires_at > self._seconds():
            return verified
        return None

    def remember(self, token: str, verified: VerifiedToken) -> None:
        """Keep a token that `verify` has accepted, until it expires or there is no room."""
        if token in self._tokens:
            return
        self._make_room()
        self._tokens[token] = verified

    def forget(self, key_ids: Collection[str]) -> None:
        """Forget the tokens that these keys have signed."""
        self._tokens = {text: token for text, token in self._tokens.items() if token.key_id not in key_ids}

    def _make_room(self) -> None:
        """Drop the oldest if all places are taken, and two of the expired: memory shrinks as it is used."""
        now = self._seconds()
        for _ in range(2):
            oldest = next(iter(self._tokens), None)
            if oldest is None:
                return
            if len(self._tokens) >= self._most or self._tokens[oldest].expires_at <= now:
                del self._tokens[oldest]


def _header(key: SigningKey) -> Header:
    """The header of every token that a key signs."""
    return Header(alg=key.algorithm, kid=key.id, typ=TYPE)


def _parse(token: str) -> tuple[Header, Claims]:
    """Decode the header and the claims of a token whose signature is not verified yet.

    Raises:
        Unauthenticated: the token is not written exactly as `issue` writes one.
    """
    segments = token.split(".", 3) if len(token) <= LONGEST else ()
    if len(segments) != 3:
        raise _refusal()
    try:
        header = msgspec.json.decode(base64url.decode(segments[0]), type=Header)
        claims = msgspec.json.decode(base64url.decode(segments[1]), type=Claims)
        base64url.decode(segments[2])
    # How deep JSON may nest before the interpreter gives up depends on the platform.
    except (ValueError, RecursionError):
        raise _refusal() from None
    # One spelling only: white space, escapes and repeated names do not survive being written again.
    if base64url.encode(msgspec.json.encode(header)) != segments[0]:
        raise _refusal()
    return header, claims


def _refusal() -> Unauthenticated:
    return Unauthenticated("The access token is malformed, forged, or not for this server")
