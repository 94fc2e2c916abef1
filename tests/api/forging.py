"""Decode, change and encode access tokens, as an attacker does."""

import base64
import json
from typing import Any

from tests import signatures
from tests.api.stack import Stack

type JsonObject = dict[str, Any]


def encode(value: bytes) -> str:
    """Base64url without padding, the encoding of every part of a token."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def decode(segment: str) -> JsonObject:
    """The JSON object in one part of a token."""
    decoded: JsonObject = json.loads(base64.urlsafe_b64decode(segment + "=="))
    return decoded


def segment(value: JsonObject) -> str:
    """One part of a token."""
    return encode(json.dumps(value, separators=(",", ":")).encode())


def parts(token: str) -> tuple[JsonObject, JsonObject, str]:
    """Header, claims and signature."""
    header, claims, signature = token.split(".")
    return decode(header), decode(claims), signature


def signed_by_us(stack: Stack, header: JsonObject, claims: JsonObject) -> str:
    """A token signed with the server's own key."""
    signed = f"{segment(header)}.{segment(claims)}"
    return f"{signed}.{encode(signatures.sign(stack.kingpost.auth.keys.signing_key(), signed.encode()))}"
