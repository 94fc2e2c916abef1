"""Refresh tokens: opaque to clients, 256 random bits, known to the database by their hash only.

A token is base64url of session id (16 bytes) ‖ secret (32) ‖ tag (16). The tag is an HMAC over the rest
under a key that only Kingpost's nodes have. So a forged token is refused without a look-up and can end
nobody's session, while an old genuine one still names the session that has to end (RFC 9700, section
4.14.2).
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from uuid import UUID

from kingpost import base64url
from kingpost.secret import MasterSecret

ID_BYTES, SECRET_BYTES, TAG_BYTES = 16, 32, 16
BODY_BYTES = ID_BYTES + SECRET_BYTES


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A token that Kingpost made. `text` is what the client holds; neither it nor the secret is printed."""

    session_id: str
    secret: bytes = field(repr=False)
    text: str = field(repr=False)

    @property
    def hash(self) -> bytes:
        """What is stored: SHA-256 of the secret, which has too many bits to need a slow hash."""
        return hashlib.sha256(self.secret).digest()


class RefreshTokens:
    """Makes and reads refresh tokens. Nodes with the same master secret understand each other."""

    def __init__(self, secret: MasterSecret) -> None:
        self._tag_key = secret.derive("refresh-tokens/tag")
        self._successor_key = secret.derive("refresh-tokens/successor")

    def first(self, session_id: str) -> RefreshToken:
        """A new session's first token; its secret is random."""
        return self._token(UUID(session_id).bytes, secrets.token_bytes(SECRET_BYTES))

    def successor(self, token: RefreshToken) -> RefreshToken:
        """The token that replaces this one: always the same, on every node.

        A client that lost the answer gets the successor again, although it is stored nowhere. Without the
        master secret nobody can compute it, not even from the token and the database.
        """
        session_id = UUID(token.session_id).bytes
        return self._token(session_id, hmac.digest(self._successor_key, session_id + token.secret, "sha256"))

    def parse(self, text: str) -> RefreshToken | None:
        """The token with this text, or None where Kingpost made no such token (no look-up needed)."""
        try:
            value = base64url.decode(text)
        except ValueError:
            return None
        body, tag = value[:BODY_BYTES], value[BODY_BYTES:]
        if not hmac.compare_digest(tag, self._tag(body)):
            return None
        return RefreshToken(str(UUID(bytes=body[:ID_BYTES])), body[ID_BYTES:], text)

    def _token(self, session_id: bytes, secret: bytes) -> RefreshToken:
        body = session_id + secret
        return RefreshToken(str(UUID(bytes=session_id)), secret, base64url.encode(body + self._tag(body)))

    def _tag(self, body: bytes) -> bytes:
        return hmac.digest(self._tag_key, body, "sha256")[:TAG_BYTES]
