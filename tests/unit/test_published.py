"""The OpenAPI document is encoded and compressed once for each of its generations."""

import asyncio
import gzip
import json
from typing import Any

from kingpost.http.openapi.published import PublishedDocument


async def test_the_document_is_made_once_for_each_generation_and_content_coding() -> None:
    made: list[int] = []
    generation = 1

    def make() -> dict[str, Any]:
        made.append(generation)
        return {"generation": generation}

    document = PublishedDocument(make, lambda: generation)
    for _ in range(3):
        assert json.loads(await document.encoded()) == {"generation": 1}
        assert json.loads(gzip.decompress(await document.encoded("gzip"))) == {"generation": 1}
    assert made == [1, 1]
    generation = 2
    assert json.loads(await document.encoded()) == {"generation": 2}
    assert json.loads(gzip.decompress(await document.encoded("gzip"))) == {"generation": 2}
    assert made == [1, 1, 2, 2]


async def test_a_document_that_is_compressed_while_it_changes_is_not_kept_for_the_next_generation() -> None:
    generation = 1
    document = PublishedDocument(lambda: {"generation": generation}, lambda: generation)
    first = asyncio.create_task(document.encoded("gzip"))
    await asyncio.sleep(0)
    generation = 2
    assert json.loads(gzip.decompress(await first)) == {"generation": 1}
    assert json.loads(gzip.decompress(await document.encoded("gzip"))) == {"generation": 2}
