"""Compress responses if the client accepts it and the body is large enough."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

import zstandard

from kingpost.http.app.answers import NO_STORE, Answer, StreamedAnswer
from kingpost.http.app.media_types import Encoding, accepted_encoding

MIN_SIZE = 1024
"""Bytes. A smaller body is not compressed, because the gain is negligible."""
MIN_SIZE_FOR_THREAD = 128 * 1024
"""Bytes. A body of this size or more is compressed in a thread, so that it does not block other requests."""


def choose(headers: Mapping[bytes, bytes], answer: Answer) -> Encoding | None:
    """Choose the content coding for a response; None for no compression.

    A `no-store` response is not compressed. It contains secrets next to input of the client, so its compressed length
    would leak information about them (the BREACH attack). A response that the handler has compressed is not
    compressed again.
    """
    accepted = headers.get(b"accept-encoding")
    is_short = len(answer.body) < MIN_SIZE and not isinstance(answer, StreamedAnswer)
    if accepted is None or is_short or NO_STORE in answer.headers:
        return None
    if any(name == b"content-encoding" for name, _ in answer.headers):
        return None
    return accepted_encoding(accepted.decode("latin-1"))


async def compress(encoding: Encoding, content: bytes) -> bytes:
    """Compress the content, in a thread if it is large."""
    if len(content) < MIN_SIZE_FOR_THREAD:
        return encode(encoding, content)
    return await asyncio.to_thread(encode, encoding, content)


def encode(encoding: Encoding, content: bytes) -> bytes:
    """Compress the content in the current thread."""
    if encoding == "zstd":
        return zstandard.ZstdCompressor(level=3).compress(content)
    return gzip.compress(content, compresslevel=5, mtime=0)


async def compress_stream(encoding: Encoding, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Compress a stream chunk by chunk."""
    gzip_format = zlib.MAX_WBITS + 16
    compressor = (
        zstandard.ZstdCompressor(level=3).compressobj()
        if encoding == "zstd"
        else zlib.compressobj(5, wbits=gzip_format)
    )
    async for chunk in chunks:
        is_long = len(chunk) >= MIN_SIZE_FOR_THREAD
        yield await asyncio.to_thread(compressor.compress, chunk) if is_long else compressor.compress(chunk)
    yield compressor.flush()
