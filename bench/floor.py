"""The floor: a bare ASGI application that only runs the same single statement.

It stands on the same HTTP server and the same drivers, and returns the same JSON.
It has no framework, no token, no validation, and none of Kingpost's headers. It is the obvious first implementation: a
plain asyncpg pool of 16 connections, or SQLite on the event loop, where each insert is a commit with
`synchronous = FULL`.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

import apsw
import asyncpg
import msgspec
import uvloop

from kingpost import clock
from kingpost.http.server import bounds
from kingpost.http.server.acceptor import Acceptor
from kingpost.http.server.client import Proxies
from kingpost.http.server.connections import Connections
from kingpost.http.server.protocol import Service
from kingpost.model import Resource

COLUMNS = ", ".join(Resource.__struct_fields__)
GET = f"SELECT {COLUMNS} FROM resources WHERE id = "
LIST = f"SELECT {COLUMNS} FROM resources WHERE owner_id = {{}} ORDER BY id DESC LIMIT 21"
CREATE = f"INSERT INTO resources ({COLUMNS}) VALUES "
CONNECTIONS = 16

type Row = Sequence[Any]


class NewResource(msgspec.Struct):
    type: str
    data: msgspec.Raw


class Store(Protocol):
    async def get(self, resource_id: str) -> Row | None: ...
    async def list(self, owner_id: str) -> Sequence[Row]: ...
    async def create(self, row: Row) -> None: ...


class SQLiteStore:
    def __init__(self, path: str) -> None:
        self._connection = apsw.Connection(path)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "cache_size = -8192"):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()

    async def get(self, resource_id: str) -> Row | None:
        return self._connection.execute(GET + "?", (resource_id,)).fetchone()

    async def list(self, owner_id: str) -> Sequence[Row]:
        return self._connection.execute(LIST.format("?"), (owner_id,)).fetchall()

    async def create(self, row: Row) -> None:
        self._connection.execute(CREATE + "(?, ?, ?, ?, ?, ?, ?)", tuple(row))


class PostgreSQLStore:
    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, url: str) -> "PostgreSQLStore":
        return cls(await asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS, init=_use_text))

    async def get(self, resource_id: str) -> Row | None:
        row: Row | None = await self._pool.fetchrow(GET + "$1", resource_id)
        return row

    async def list(self, owner_id: str) -> Sequence[Row]:
        rows: Sequence[Row] = await self._pool.fetch(LIST.format("$1"), owner_id)
        return rows

    async def create(self, row: Row) -> None:
        await self._pool.execute(CREATE + "($1, $2, $3, $4, $5, $6, $7)", *row)


class Floor:
    """Serves `GET /…/{id}`, `GET /…/resources` and `POST`. Every other request gets status 200."""

    def __init__(self, store: Store, owner_id: str) -> None:
        self._store = store
        self._owner_id = owner_id

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]) -> None:
        status = 200
        value: object = None
        if scope["method"] == "POST":
            status, value = 201, await self._create((await receive())["body"])
        elif scope["path"].endswith("/resources"):
            rows = await self._store.list(self._owner_id)
            value = {"items": [_resource(row) for row in rows[:20]], "next_cursor": rows[-1][0]}
        elif "/resources/" in scope["path"]:
            row = await self._store.get(scope["path"][-36:])
            status, value = (404, None) if row is None else (200, _resource(row))
        body = msgspec.json.encode(value)
        length = str(len(body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _create(self, body: bytes) -> Resource:
        new = msgspec.json.decode(body, type=NewResource)
        identifier, now = clock.new_id()
        row = (identifier, new.type, self._owner_id, bytes(new.data).decode(), 1, now, now)
        await self._store.create(row)
        return _resource(row)


def _resource(row: Row) -> Resource:
    return Resource(row[0], row[1], row[2], msgspec.Raw(row[3]), row[4], row[5], row[6])


async def _use_text(connection: Any) -> None:
    """Convert ids and times to text. For times, the `tuple` format of asyncpg is the fastest."""

    async def codec(name: str, encoder: object, decoder: object, form: str) -> None:
        await connection.set_type_codec(name, schema="pg_catalog", encoder=encoder, decoder=decoder, format=form)

    epoch = 946_684_800_000_000  # PostgreSQL's epoch, the year 2000, in microseconds since 1970
    await codec("uuid", str, str, "text")
    await codec(
        "timestamptz",
        lambda text: (round(datetime.fromisoformat(text).timestamp() * 1e6) - epoch,),
        lambda value: clock.timestamp((value[0] + epoch) // 1000),
        "tuple",
    )


async def serve(url: str, owner_id: str, listener: socket.socket) -> None:
    is_sqlite = url.startswith("sqlite:")
    store = SQLiteStore(url.removeprefix("sqlite:///")) if is_sqlite else await PostgreSQLStore.open(url)
    app: Any = Floor(store, owner_id)
    connections = Connections(bounds.raise_descriptor_limit())
    Acceptor(Service(app, connections, header_limit=16 * 1024, proxies=Proxies(())), listener, at_once=1)
    await connections.sweep()


def main(url: str, owner_id: str, port: str, workers: str) -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(port)))
    listener.listen(2048)
    for _ in range(int(workers) - 1):
        if os.fork() == 0:
            break
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(url, owner_id, listener))


if __name__ == "__main__":
    main(*sys.argv[1:])
