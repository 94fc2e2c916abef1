"""Refresh tokens: opaque to clients, with 256 random bits. The database stores only their hashes.

A token is base64url of session id (16 bytes) ‖ secret (32) ‖ tag (16). The tag is an HMAC over the rest with a key
that only Kingpost's nodes have. So a forged token is rejected without a look-up and cannot end a session. A genuine
token that is used again identifies the session that must end (RFC 9700, section 4.14.2).
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
    """A genuine token. `text` is its form for clients. `repr` shows neither the text nor the secret."""

    session_id: str
    secret: bytes = field(repr=False)
    text: str = field(repr=False)

    @property
    def hash(self) -> bytes:
        """The SHA-256 of the secret, to be stored. A random secret of 256 bits does not need a slow hash."""
        return hashlib.sha256(self.secret).digest()


class RefreshTokens:
    """Makes and parses refresh tokens. Nodes with the same master secret accept each other's tokens."""

    def __init__(self, secret: MasterSecret) -> None:
        self._tag_key = secret.derive("refresh-tokens/tag")
        self._successor_key = secret.derive("refresh-tokens/successor")

    def first(self, session_id: str) -> RefreshToken:
        """Return the first token of a new session, with a random secret."""
        return self._token(UUID(session_id).bytes, secrets.token_bytes(SECRET_BYTES))

    def successor(self, token: RefreshToken) -> RefreshToken:
        """Return the token that replaces this one. It is the same every time and on every node.

        So a client that lost the response can get the same successor again, although its text is not stored. The
        successor cannot be computed without the master secret, even from the token and the database.
        """
        session_id = UUID(token.session_id).bytes
        return self._token(session_id, hmac.digest(self._successor_key, session_id + token.secret, "sha256"))

    def parse(self, text: str) -> RefreshToken | None:
        """Return the token with this text, or None if it is forged or malformed. This does not use the database."""
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
