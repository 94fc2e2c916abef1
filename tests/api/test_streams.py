"""Streamed responses: sent at the client's pace, and either complete or visibly aborted."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kingpost.accounts.export.service import RESOURCES_PER_PAGE
from kingpost.http.app.application import STREAM_ABORTED
from kingpost.problems import Unavailable
from tests.api.stack import Caller, Serve, Stack
from tests.api.test_audit import EXPORT, add

type Message = dict[str, Any]


@pytest_asyncio.fixture(loop_scope="session")
async def long_log(serve: Serve) -> AsyncGenerator[tuple[Stack, Caller]]:
    """A separate application whose audit log has many pages, and an administrator."""
    stack = await serve()
    admin = await stack.sign_up_admin()
    await add(stack, 2_000, admin.id)
    yield stack, admin


async def export(
    stack: Stack, admin: Caller, send: Callable[[Message], Awaitable[None]], encoding: str = "identity"
) -> None:
    """Request an export as a web server does."""
    lines = {"host": "x", "authorization": f"Bearer {admin.access_token}", "accept-encoding": encoding}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": EXPORT,
        "raw_path": EXPORT.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in lines.items()],
        "client": ("192.0.2.7", 50000),
        "server": ("127.0.0.1", 8000),
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    await stack.app(scope, receive, send)


def bodies(messages: list[Message]) -> list[bytes]:
    return [message["body"] for message in messages if message.get("body")]


async def test_a_stream_starts_at_once_and_is_sent_in_chunks(long_log: tuple[Stack, Caller]) -> None:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await export(*long_log, send)
    assert messages[0]["type"] == "http.response.start"
    assert messages[1] == {"type": "http.response.body", "body": b"", "more_body": True}
    assert messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert len(bodies(messages)) >= 10
    assert max(len(body) for body in bodies(messages)) < 100_000
    assert b"".join(bodies(messages)).count(b"\n") >= 2_000


async def test_a_slow_client_pauses_the_stream_and_blocks_no_other_request(long_log: tuple[Stack, Caller]) -> None:
    stack, admin = long_log
    gate, has_received_three, received = asyncio.Event(), asyncio.Event(), 0

    async def send(message: Message) -> None:
        nonlocal received
        received += bool(message.get("body"))
        if received == 3:
            has_received_three.set()
            await gate.wait()

    reading = asyncio.create_task(export(stack, admin, send))
    await has_received_three.wait()
    await asyncio.sleep(0.2)
    assert received == 3
    # A client that does not read blocks neither the database nor other clients.
    await add(stack, 1, admin.id)
    assert (await admin.http.get(EXPORT)).content.count(b"\n") >= 2_000
    assert received == 3
    gate.set()
    await reading
    assert received >= 10


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
async def test_a_stream_ends_when_the_client_disconnects(
    long_log: tuple[Stack, Caller], encoding: str, caplog: pytest.LogCaptureFixture
) -> None:
    sent = 0

    async def send(message: Message) -> None:
        nonlocal sent
        sent += 1
        if sent > 4:
            raise OSError

    with caplog.at_level(logging.INFO):
        await export(*long_log, send, encoding)
    assert sent == 5
    assert "the client disconnected before the end" in caplog.text
    assert not [
        record for record in caplog.records if record.levelno > logging.INFO and record.name.startswith("kingpost")
    ]


async def test_a_cancelled_stream_is_aborted_and_releases_its_resources(
    long_log: tuple[Stack, Caller],
) -> None:
    stack, admin = long_log
    waiting, messages = asyncio.Event(), list[Message]()

    async def send(message: Message) -> None:
        messages.append(message)
        if message.get("body"):
            waiting.set()
            await asyncio.Event().wait()

    reading = asyncio.create_task(export(stack, admin, send))
    await waiting.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert messages[-1] == {"type": STREAM_ABORTED}
    assert (await admin.http.get(EXPORT)).content.count(b"\n") >= 2_000


async def test_a_stream_is_aborted_when_the_database_fails_midway(
    long_log: tuple[Stack, Caller], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stack, admin = long_log
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)
        if message.get("body") and len(bodies(messages)) == 2:
            (tmp_path / "kingpost.db").rename(tmp_path / "moved.db")
            async with asyncio.timeout(10):
                while True:
                    try:
                        await stack.kingpost.database.ping()
                    except Unavailable:
                        return
                    await asyncio.sleep(0.01)

    try:
        await export(stack, admin, send)
    finally:
        (tmp_path / "moved.db").rename(tmp_path / "kingpost.db")
    assert messages[-1] == {"type": STREAM_ABORTED}
    assert not [message for message in messages if message.get("more_body") is False]
    assert len(bodies(messages)) == 2
    (record,) = [record for record in caplog.records if " aborted: " in record.message]
    assert not record.exc_info
    assert "not available" in record.message


async def test_a_failure_before_the_first_byte_is_a_problem_response(
    long_log: tuple[Stack, Caller], tmp_path: Path
) -> None:
    _, admin = long_log
    (tmp_path / "kingpost.db").rename(tmp_path / "moved.db")
    try:
        async with asyncio.timeout(10):
            while (response := await admin.http.get(EXPORT)).status_code == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert response.status_code == 503
        assert response.json()["type"] == "/problems/unavailable"
    finally:
        (tmp_path / "moved.db").rename(tmp_path / "kingpost.db")


async def test_an_export_lets_other_requests_have_their_turn_after_each_page(stack: Stack) -> None:
    owner = await stack.sign_up()
    note = {"type": "note", "data": {"text": "x" * 100}}
    await asyncio.gather(*[owner.http.post("/api/v1/resources", json=note) for _ in range(5 * RESOURCES_PER_PAGE)])
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(others())
    response = await owner.http.get("/api/v1/users/me/export")
    waiting.cancel()
    assert len(response.json()["resources"]) == 5 * RESOURCES_PER_PAGE
    assert turns > 5
