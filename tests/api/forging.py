"""Access tokens taken apart and put together again, as forgers do it."""

import base64
import json
from typing import Any

from tests import signatures
from tests.api.stack import Stack

type Members = dict[str, Any]


def encode(value: bytes) -> str:
    """Base64url without padding, as every part of a token has it."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def decode(segment: str) -> Members:
    """The JSON object in one part of a token."""
    decoded: Members = json.loads(base64.urlsafe_b64decode(segment + "=="))
    return decoded


def segment(value: Members) -> str:
    """One part of a token."""
    return encode(json.dumps(value, separators=(",", ":")).encode())


def parts(token: str) -> tuple[Members, Members, str]:
    """Header, claims and signature."""
    header, claims, signature = token.split(".")
    return decode(header), decode(claims), signature


def signed_by_us(stack: Stack, header: Members, claims: Members) -> str:
    """A token that nobody can make without the server's own key."""
    signed = f"{segment(header)}.{segment(claims)}"
    return f"{signed}.{encode(signatures.sign(stack.kingpost.auth.keys.signing_key(), signed.encode()))}"
