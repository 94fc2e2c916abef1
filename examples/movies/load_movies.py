"""Load 3,201 movies into a running server, read them back by cursor, and verify that nothing was changed or lost.

    python3 dev.py example movies [--url http://127.0.0.1:8000] [--email … --password …]

Each run creates a new account unless you name one, so runs do not affect each other.
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

# The data set of the Vega project. It is real data with errors: titles that are numbers or null, broken accents.
PACKAGE = "vega-datasets@3.2.1"
SHA256 = "e63c499759e3b07b49563e036f55290f87feb56def8703ec049ca305ab1523d3"
MOVIES = Path(__file__).with_name("movies.json")

CONCURRENCY = 16


class Failed(Exception):
    """The run cannot continue. The message is one sentence for the user."""


# --- the API: everything that a client of Kingpost needs -------------------------------------------


async def call(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request and return its response. If the server throttles the client, wait and try again.

    Raises:
        Failed: the server refused the request.
    """
    while True:
        response = await client.request(method, path, **options)
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            await asyncio.sleep(float(response.headers.get("Retry-After", 1)))
            continue
        if response.is_success:
            return response
        raise Failed(f"{method} {path} failed with status {response.status_code}: {reason(response)}")


def reason(response: httpx.Response) -> str:
    """Return the reason of an error response. Every error is a problem document (RFC 9457)."""
    if response.headers.get("Content-Type") != "application/problem+json":
        return response.reason_phrase  # The response is from a proxy or another server.
    problem = response.json()
    faults = [
        f"{fault.get('pointer') or fault.get('parameter')}: {fault['detail']}" for fault in problem.get("errors", ())
    ]
    return " ".join([problem["detail"], *faults])


async def sign_up(client: httpx.AsyncClient, email: str, password: str) -> None:
    await call(client, "POST", "/users", json={"email": email, "password": password})


async def log_in(client: httpx.AsyncClient, email: str, password: str) -> None:
    """Log in, and use the access token for all later requests."""
    session = (await call(client, "POST", "/auth/login", json={"email": email, "password": password})).json()
    client.headers["Authorization"] = f"Bearer {session['access_token']}"


async def create(client: httpx.AsyncClient, movie: Movie) -> str:
    """Create one movie and return its id. The type does not have to be declared."""
    resource = (await call(client, "POST", "/resources", json={"type": "movie", "data": movie})).json()
    return str(resource["id"])


async def walk(client: httpx.AsyncClient) -> AsyncIterator[dict[str, Any]]:
    """Yield all movies of this account, page by page. Each page contains the cursor of the next one."""
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
        # Ignore the movies of earlier runs with the same account.
        returned = [resource["data"] async for resource in walk(client) if resource["id"] in created]
        walked = time.perf_counter()

    print(f"Created {len(created):,} movies in {loaded - started:.1f} s ({len(created) / (loaded - started):,.0f}/s).")
    print(f"Read {len(returned):,} back in {walked - loaded:.1f} s.")
    compare(movies, returned)
    print("The movies read are equal to the movies sent.")


async def load(client: httpx.AsyncClient, movies: list[Movie]) -> set[str]:
    """Create all movies, several at a time, with a progress bar. Return their ids."""
    created: set[str] = set()
    pending = iter(movies)
    columns = TextColumn("Loading movies"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns) as progress:
        bar = progress.add_task("movies", total=len(movies))

        async def worker() -> None:
            for movie in pending:
                created.add(await create(client, movie))
                progress.advance(bar)

        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return created


def compare(sent: Iterable[Movie], returned: Iterable[Movie]) -> None:
    """Compare the movies as multisets of canonical JSON, which ignores their order.

    Raises:
        Failed: they differ.
    """
    before, after = Counter(map(canonical, sent)), Counter(map(canonical, returned))
    if before != after:
        missing, unexpected = (before - after).total(), (after - before).total()
        example = next(iter((before - after) + (after - before)))
        raise Failed(f"{missing} movies are missing and {unexpected} are unexpected, such as {example}")


def canonical(movie: Movie) -> str:
    return json.dumps(movie, sort_keys=True, ensure_ascii=False)


# --- the data --------------------------------------------------------------------------------------


def fetch_movies(file: Path) -> list[Movie]:
    """Return the movies in `file`. Download the file with npm if it does not exist."""
    if not file.exists():
        file.write_bytes(download_movies())
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise Failed(f"{file} is not the complete movies.json of {PACKAGE}.")
    movies: list[Movie] = json.loads(content)
    return movies


def download_movies() -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise Failed(f"The movies are in the npm package {PACKAGE}: install npm, or pass a copy with --file.")
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run([npm, "pack", "--silent", PACKAGE], check=False, cwd=folder, stdout=subprocess.DEVNULL)
        archives = list(Path(folder).glob("*.tgz"))
        if packed.returncode or not archives:
            raise Failed(f"npm could not download {PACKAGE}. See its output above.")
        with tarfile.open(archives[0]) as archive:
            file = archive.extractfile("package/data/movies.json")
            assert file is not None
            return file.read()


def main() -> None:
    parser = argparse.ArgumentParser(description="Load 3,201 movies into a running server and read them back.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server's address (default: %(default)s)")
    parser.add_argument("--email", help="an existing account (default: create a new one)")
    parser.add_argument("--password", help="its password")
    parser.add_argument("--file", type=Path, default=MOVIES, help=f"a copy of movies.json of {PACKAGE}")
    options = parser.parse_args()
    if (options.email is None) != (options.password is None):
        parser.error("--email and --password must be used together")
    account = (options.email, options.password) if options.email else None
    try:
        asyncio.run(run(options.url, account, fetch_movies(options.file)))
    except Failed as failure:
        sys.exit(str(failure))
    except httpx.TransportError as failure:
        sys.exit(f"{options.url} does not respond ({failure}). Is the server running?")
    except KeyboardInterrupt:
        sys.exit("Stopped.")


if __name__ == "__main__":
    main()
