"""Request bodies: read within bounds, refused unless they are what they say they are."""

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
    """The client went away in the middle of its body: nobody waits for an answer."""


async def read(headers: Mapping[bytes, bytes], receive: Callable[[], Awaitable[dict[str, Any]]], limit: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it has more than `limit` bytes, or says so.
        Disconnected: the client went away before its end.
    """
    length = headers.get(b"content-length")
    if length is not None and (not length.isdigit() or int(length[:20]) > limit):
        raise TooLarge(f"A body has at most {limit} bytes")
    message = await receive()
    if not message.get("more_body") and message["type"] == "http.request":
        text: bytes = message.get("body", b"")
        if len(text) > limit:
            raise TooLarge(f"A body has at most {limit} bytes")
        return text
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise Disconnected()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"A body has at most {limit} bytes")
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()


def decode(
    method: str, content_type: str | None, headers: Mapping[bytes, bytes], text: bytes, limits: JSONLimits
) -> tuple[str, Any]:
    """The media type of a body and the JSON in it: a list for a JSON Patch, otherwise a dict.

    Raises:
        UnsupportedMediaType: it is compressed, no JSON, or in another charset than UTF-8.
        InvalidRequest: with every fault that the decoder finds.
    """
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMediaType("Bodies are not compressed")
    media_type, parameters = parse_content_type(content_type)
    known = (JSON, MERGE_PATCH, JSON_PATCH) if method == "PATCH" else (JSON,)
    if media_type not in known:
        raise UnsupportedMediaType(f"The body must be {' or '.join(known)}")
    if parameters.get("charset", "utf-8").lower() not in UTF_8:
        raise UnsupportedMediaType("The body must be UTF-8")
    document = strict.decode(text, limits)
    expected, name = (list, "array") if media_type == JSON_PATCH else (dict, "object")
    if not isinstance(document, expected):
        raise InvalidRequest.of(Fault(f"The body must be a JSON {name}", "type", pointer=""))
    return media_type, document
