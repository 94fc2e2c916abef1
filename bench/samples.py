"""The resources for all measurements. Their data has about 400 bytes of JSON."""

import random
from collections.abc import Iterator
from typing import Any

import msgspec

from kingpost import clock
from kingpost.model import Resource

TYPE = "movie"
WORDS = ["night", "river", "über", "giant", "señor", "iron", "glass", "winter", "naïve", "harbour", "夜", "velvet"]


def data(source: random.Random) -> dict[str, Any]:
    """Return a typical document."""

    def words(count: int) -> str:
        return " ".join(source.choices(WORDS, k=count))

    return {
        "title": words(4),
        "director": words(2) if source.random() < 0.8 else None,
        "year": source.randint(1920, 2026),
        "rating": round(source.uniform(1, 10), 1),
        "gross": source.randint(10_000, 900_000_000),
        "genres": source.sample(["drama", "comedy", "horror", "western", "documentary"], 2),
        "released": source.random() < 0.9,
        "cast": [{"name": words(2), "role": words(1)} for _ in range(2)],
        "plot": words(19),
    }


def resources(count: int, owner_id: str) -> Iterator[Resource]:
    """Yield resources in the form in which `POST /api/v1/resources` stores them."""
    source = random.Random(1)
    for _ in range(count):
        identifier, now = clock.new_id()
        text = msgspec.Raw(msgspec.json.encode(data(source)))
        yield Resource(identifier, TYPE, owner_id, text, 1, now, now)


def bodies(count: int) -> Iterator[str]:
    """Yield bodies for `POST /api/v1/resources`."""
    source = random.Random(2)
    for _ in range(count):
        yield msgspec.json.encode({"type": TYPE, "data": data(source)}).decode()
