"""Read request bodies within limits, and decode them according to their media type."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from kingpost.http.app.media_types import parse_content_type
from kingpost.jsontools import strict
from kingpost.jsontools.strict import JSONLimits
from kingpost.problems import Fault, InvalidRequest, TooLarge, UnsupportedMediaType

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
UTF_8 = ("utf-8", "utf8")


class Disconnected(Exception):
    """The client disconnected before the end of the body, so no response can be sent."""


async def read(headers: Mapping[bytes, bytes], receive: Callable[[], Awaitable[dict[str, Any]]], limit: int) -> bytes:
    """Read the complete body.

    Raises:
        TooLarge: the body has more than `limit` bytes, or its Content-Length says so.
        Disconnected: the client disconnected before the end of the body.
    """
    length = headers.get(b"content-length")
    if length is not None and (not length.isdigit() or int(length[:20]) > limit):
        raise TooLarge(f"The body must not exceed {limit} bytes")
    message = await receive()
    if not message.get("more_body") and message["type"] == "http.request":
        text: bytes = message.get("body", b"")
        if len(text) > limit:
            raise TooLarge(f"The body must not exceed {limit} bytes")
        return text
    content = bytearray()  # A list would take many times the memory if the body arrives in tiny pieces.
    while True:
        if message["type"] != "http.request":
            raise Disconnected()
        content += message.get("body", b"")
        if len(content) > limit:
            raise TooLarge(f"The body must not exceed {limit} bytes")
        if not message.get("more_body"):
            return bytes(content)
        message = await receive()


def is_absent(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether the head says that there is no body."""
    return headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers


def is_announced(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether the head says that there is a body. A chunked one without a media type may still be empty."""
    length = headers.get(b"content-length")
    if length is not None:
        return length != b"0"
    return b"transfer-encoding" in headers and b"content-type" in headers


def media_type(method: str, headers: Mapping[bytes, bytes]) -> str:
    """Return the media type of a body.

    Raises:
        UnsupportedMediaType: the body is compressed, is not JSON, or has a charset other than UTF-8.
    """
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMediaType(
            "Compressed request bodies are not supported. Send the body without Content-Encoding"
        )
    content_type = headers.get(b"content-type")
    name, parameters = parse_content_type(None if content_type is None else content_type.decode("latin-1"))
    known = (JSON, MERGE_PATCH, JSON_PATCH) if method == "PATCH" else (JSON,)
    if name not in known:
        raise UnsupportedMediaType(f"The Content-Type of the body must be {' or '.join(known)}")
    if parameters.get("charset", "utf-8").lower() not in UTF_8:
        raise UnsupportedMediaType("The charset of the body must be UTF-8")
    return name


def decode(media_type: str, text: bytes, limits: JSONLimits) -> Any:
    """Return the decoded JSON of a body: a list for a JSON Patch, otherwise a dict.

    Raises:
        InvalidRequest: the JSON has faults.
    """
    document = strict.decode(text, limits)
    expected, name = (list, "array") if media_type == JSON_PATCH else (dict, "object")
    if not isinstance(document, expected):
        raise InvalidRequest.of(Fault(f"The body must be a JSON {name}", "type", pointer=""))
    return document
