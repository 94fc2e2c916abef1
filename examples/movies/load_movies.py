"""Load 3,201 movies into a running Kingpost, read them back by cursor, and prove that nothing was changed or lost.

    python3 dev.py example movies [--url http://127.0.0.1:8000] [--email … --password …]

Each run makes an account of its own unless one is named, so runs never disturb each other.
"""

import argparse
import asyncio
import hashlib
import json
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import httpx
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Movie = dict[str, Any]

# The data set of the Vega project, real with all its warts: titles that are numbers or null, broken accents, guesses.
PACKAGE = "vega-datasets@3.2.1"
SHA256 = "e63c499759e3b07b49563e036f55290f87feb56def8703ec049ca305ab1523d3"
MOVIES = Path(__file__).with_name("movies.json")

CONCURRENCY = 16


class Failed(Exception):
    """The run cannot go on. Its text is one sentence for the person who started it."""


# --- the API: all that a client of Kingpost needs to know ------------------------------------------


async def call(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request and return its answer; wait when told to, and raise what the server found wrong."""
    while True:
        response = await client.request(method, path, **options)
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            await asyncio.sleep(float(response.headers.get("Retry-After", 1)))
            continue
        if response.is_success:
            return response
        raise Failed(f"{method} {path} was answered with {response.status_code}: {reason(response)}")


def reason(response: httpx.Response) -> str:
    """What the server said was wrong: every error is a problem document (RFC 9457)."""
    if response.headers.get("Content-Type") != "application/problem+json":
        return response.reason_phrase  # a proxy's answer, or another server's
    problem = response.json()
    faults = [
        f"{fault.get('pointer') or fault.get('parameter')}: {fault['detail']}" for fault in problem.get("errors", ())
    ]
    return " ".join([problem["detail"], *faults])


async def sign_up(client: httpx.AsyncClient, email: str, password: str) -> None:
    await call(client, "POST", "/users", json={"email": email, "password": password})


async def log_in(client: httpx.AsyncClient, email: str, password: str) -> None:
    """Log in, and send the access token with every later request."""
    session = (await call(client, "POST", "/auth/login", json={"email": email, "password": password})).json()
    client.headers["Authorization"] = f"Bearer {session['access_token']}"


async def create(client: httpx.AsyncClient, movie: Movie) -> str:
    """Store one movie; its type needs no declaration. Returns the id."""
    resource = (await call(client, "POST", "/resources", json={"type": "movie", "data": movie})).json()
    return str(resource["id"])


async def walk(client: httpx.AsyncClient) -> AsyncIterator[dict[str, Any]]:
    """Every movie of this account, page by page: each page says where the next one starts."""
    query: dict[str, str | int] = {"type": "movie", "owner": "me", "limit": 100}
    while True:
        page = (await call(client, "GET", "/resources", params=query)).json()
        for resource in page["items"]:
            yield resource
        if page["next_cursor"] is None:
            return
        query["cursor"] = page["next_cursor"]


# --- the run ---------------------------------------------------------------------------------------


async def run(url: str, account: tuple[str, str] | None, movies: list[Movie]) -> None:
    async with httpx.AsyncClient(base_url=f"{url.rstrip('/')}/api/v1", timeout=30) as client:
        if account is None:
            account = f"movies-{secrets.token_hex(6)}@example.com", secrets.token_urlsafe()
            await sign_up(client, *account)
        await log_in(client, *account)

        started = time.perf_counter()
        created = await load(client, movies)
        loaded = time.perf_counter()
        # Movies of earlier runs under the same account are none of our business.
        returned = [resource["data"] async for resource in walk(client) if resource["id"] in created]
        walked = time.perf_counter()

    print(f"Created {len(created):,} movies in {loaded - started:.1f} s ({len(created) / (loaded - started):,.0f}/s).")
    print(f"Read {len(returned):,} back in {walked - loaded:.1f} s.")
    compare(movies, returned)
    print("What came out equals what went in.")


async def load(client: httpx.AsyncClient, movies: list[Movie]) -> set[str]:
    """Create all movies, several at a time, under a progress bar. Returns their ids."""
    created: set[str] = set()
    waiting = iter(movies)
    columns = TextColumn("Loading movies"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns) as progress:
        bar = progress.add_task("movies", total=len(movies))

        async def worker() -> None:
            for movie in waiting:
                created.add(await create(client, movie))
                progress.advance(bar)

        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return created


def compare(sent: Iterable[Movie], returned: Iterable[Movie]) -> None:
    """Hold both against each other as multisets of canonical JSON: order does not matter, all else does."""
    before, after = Counter(map(canonical, sent)), Counter(map(canonical, returned))
    if before != after:
        lost, strange = (before - after).total(), (after - before).total()
        example = next(iter((before - after) + (after - before)))
        raise Failed(f"{lost} movies did not come back as they were sent and {strange} were never sent, like {example}")


def canonical(movie: Movie) -> str:
    return json.dumps(movie, sort_keys=True, ensure_ascii=False)


# --- the data --------------------------------------------------------------------------------------


def fetch_movies(file: Path) -> list[Movie]:
    """The movies from `file`, which npm fetches when it is missing."""
    if not file.exists():
        file.write_bytes(packed_movies())
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise Failed(f"{file} is not the movies.json of {PACKAGE}, or not all of it.")
    movies: list[Movie] = json.loads(content)
    return movies


def packed_movies() -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise Failed(f"The movies come from the npm package {PACKAGE}: install npm, or name a copy with --file.")
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run([npm, "pack", "--silent", PACKAGE], check=False, cwd=folder, stdout=subprocess.DEVNULL)
        archives = list(Path(folder).glob("*.tgz"))
        if packed.returncode or not archives:
            raise Failed(f"npm could not fetch {PACKAGE}; its own words stand above.")
        with tarfile.open(archives[0]) as archive:
            member = archive.extractfile("package/data/movies.json")
            assert member is not None
            return member.read()


def main() -> None:
    parser = argparse.ArgumentParser(description="Load 3,201 movies into a running Kingpost and read them back.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server's address (default: %(default)s)")
    parser.add_argument("--email", help="an existing account; without it, a new one is made")
    parser.add_argument("--password", help="its password")
    parser.add_argument("--file", type=Path, default=MOVIES, help=f"a copy of movies.json of {PACKAGE}")
    options = parser.parse_args()
    if (options.email is None) != (options.password is None):
        parser.error("--email and --password go together")
    account = (options.email, options.password) if options.email else None
    try:
        asyncio.run(run(options.url, account, fetch_movies(options.file)))
    except Failed as failure:
        sys.exit(str(failure))
    except httpx.TransportError as failure:
        sys.exit(f"No answer from {options.url} ({failure}); is the server running?")
    except KeyboardInterrupt:
        sys.exit("Stopped.")


if __name__ == "__main__":
    main()
