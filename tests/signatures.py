"""ES256 signatures made with `cryptography` alone: tests of the server's tokens need a signer of their own."""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from kingpost.auth.signing_keys.ring import SigningKey


def private_half(key: SigningKey) -> ec.EllipticCurvePrivateKey:
    """Return the private half of a key."""
    private = key._private.private_key
    assert private is not None
    return private


def sign(key: SigningKey, message: bytes) -> bytes:
    """Return a signature as JWS has it: r and s, 32 bytes each (RFC 7518, section 3.4)."""
    r, s = decode_dss_signature(private_half(key).sign(message, ec.ECDSA(SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)
