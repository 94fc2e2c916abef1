"""Requests through proxies, on real sockets: which address and scheme count, and what a refusal tells."""

import logging

import pytest

from tests.api.connecting import Response, listening
from tests.api.stack import Serve, Stack

PRODUCTION = {
    "ENVIRONMENT": "production",
    "PUBLIC_URL": "https://api.example.com",
    "MAIL_URL": "smtp://127.0.0.1:1",
}


async def address_of_login(stack: Stack, host: str, proxies: tuple[str, ...], *headers: bytes) -> str | None:
    """Log in through a listening socket, and return the address that the session shows."""
    caller = await stack.sign_up()
    body = f'{{"email": "{caller.email}", "password": "{caller.password}"}}'.encode()
    lines = [b"POST /api/v1/auth/login HTTP/1.1", b"Host: here", b"Content-Type: application/json", *headers]
    async with listening(stack, host=host, proxies=proxies) as here:
        response = await here.ask(b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", b""]), body)
    assert response.status == 200, response
    items = (await caller.http.get("/api/v1/auth/sessions")).json()["items"]
    (address,) = [item["address"] for item in items if item["id"] == response.json()["session_id"]]
    return address if address is None else str(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
async def test_addresses_are_the_same_on_a_socket_of_both_families(stack: Stack, host: str) -> None:
    forwarded = b"X-Forwarded-For: 2001:DB8:0::7"
    assert await address_of_login(stack, host, ()) == "127.0.0.1"
    assert await address_of_login(stack, host, (), forwarded) == "127.0.0.1"
    assert await address_of_login(stack, host, ("127.0.0.1",), forwarded) == "2001:db8::7"
    assert (
        await address_of_login(stack, host, ("127.0.0.0/8",), b"X-Forwarded-For: ::ffff:203.0.113.7") == "203.0.113.7"
    )


@pytest.mark.parametrize("word", [b"unknown", b"_hidden", b"<script>alert(1)</script>", b"x" * 600, b"203.0.113.7\xff"])
async def test_what_is_no_address_is_stored_nowhere(stack: Stack, word: bytes) -> None:
    for value in (word, b"198.51.100.7, " + word):
        assert await address_of_login(stack, "127.0.0.1", ("127.0.0.1",), b"X-Forwarded-For: " + value) == "127.0.0.1"
    entries = await stack.execute("SELECT address FROM audit WHERE address IS NOT NULL")
    assert not [entry for entry in entries if "<" in str(entry[0]) or "unknown" in str(entry[0]) or len(entry[0]) > 45]


async def ask(stack: Stack, proxies: tuple[str, ...], *headers: bytes) -> Response:
    async with listening(stack, proxies=proxies) as here:
        return await here.ask(b"\r\n".join([b"GET /docs HTTP/1.1", b"Host: here", *headers, b"", b""]))


@pytest.mark.parametrize("proto", [b"https", b"HTTPS", b"https, https"])
async def test_https_of_a_trusted_proxy_is_believed(serve: Serve, proto: bytes) -> None:
    stack = await serve(**PRODUCTION)
    response = await ask(stack, ("127.0.0.1",), b"X-Forwarded-Proto: " + proto)
    assert response.status == 200
    assert "strict-transport-security" in response.headers


async def test_a_refusal_of_plain_http_tells_what_was_received_and_what_to_do(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    cases: list[tuple[tuple[str, ...], list[bytes], str, str]] = [
        (("127.0.0.1",), [b"X-Forwarded-Proto: ws"], "X-Forwarded-Proto: ws", "This trusted proxy must send"),
        (("127.0.0.1",), [], "no X-Forwarded-Proto", "This trusted proxy must send"),
        (("10.0.0.0/8",), [b"X-Forwarded-Proto: https"], "X-Forwarded-Proto: https", "add its address to KINGPOST_TR"),
        ((), [b"X-Forwarded-Proto: \xff<b>"], "X-Forwarded-Proto: (no scheme)", "add its address to KINGPOST_TRUSTED"),
    ]
    for proxies, headers, received, advice in cases:
        stack = await serve(**PRODUCTION)
        with caplog.at_level(logging.WARNING, "kingpost.http"):
            caplog.clear()
            responses = [await ask(stack, proxies, *headers) for _ in range(3)]
        for response in responses:
            assert (response.status, response.problem) == (403, "https-required")
            assert received in response.json()["detail"]
            assert "127.0.0.1" not in response.json()["detail"]
        (line,) = [record.message for record in caplog.records if record.name == "kingpost.http"]
        assert received in line
        assert advice in line
        assert "127.0.0.1" in line
