"""Compressing responses, where the client accepts it and the body is worth it."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

import zstandard

from kingpost.http.app.answers import NO_STORE, Answer, StreamedAnswer
from kingpost.http.app.media_types import Encoding, accepted_encoding

WORTH_IT = 1024
"""Bytes below which headers and packets outweigh what is saved."""
LONG = 128 * 1024
"""Bytes above which compressing would hold up other requests, and goes to a thread."""


def choose(headers: Mapping[bytes, bytes], answer: Answer) -> Encoding | None:
    """The coding for an answer, or None.

    What must not be stored holds secrets beside what the client sent; compressed, its length would tell
    about them (the BREACH attack). What its handler has compressed already stays as it is.
    """
    accepted = headers.get(b"accept-encoding")
    is_short = len(answer.body) < WORTH_IT and not isinstance(answer, StreamedAnswer)
    if accepted is None or is_short or NO_STORE in answer.headers:
        return None
    if any(name == b"content-encoding" for name, _ in answer.headers):
        return None
    return accepted_encoding(accepted.decode("latin-1"))


async def compress(encoding: Encoding, content: bytes) -> bytes:
    """The content in that coding."""
    if len(content) < LONG:
        return encode(encoding, content)
    return await asyncio.to_thread(encode, encoding, content)


def encode(encoding: Encoding, content: bytes) -> bytes:
    """The content in that coding, made here and now."""
    if encoding == "zstd":
        return zstandard.ZstdCompressor(level=3).compress(content)
    return gzip.compress(content, compresslevel=5, mtime=0)


async def compress_stream(encoding: Encoding, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """A stream in that coding, as it comes."""
    gzip_format = zlib.MAX_WBITS + 16
    compressor = (
        zstandard.ZstdCompressor(level=3).compressobj()
        if encoding == "zstd"
        else zlib.compressobj(5, wbits=gzip_format)
    )
    async for chunk in chunks:
        is_long = len(chunk) >= LONG
        yield await asyncio.to_thread(compressor.compress, chunk) if is_long else compressor.compress(chunk)
    yield compressor.flush()
