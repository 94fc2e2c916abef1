"""TLS to Valkey: with `rediss://` nothing is sent to a server without a trusted certificate."""

import asyncio
from pathlib import Path

import pytest

from kingpost.auth.throttling.valkey import ValkeyCounters
from tests.fake_servers import plain_server, tls_server
from tests.system.certificates import make_certificate
from tests.throttling.conftest import LONG_TIMEOUT


async def use(port: int, scheme: str) -> None:
    counters = ValkeyCounters(f"{scheme}://:geheim@127.0.0.1:{port}/0", LONG_TIMEOUT)
    await counters.start()
    await counters.close()
    await asyncio.sleep(0.05)  # What was sent last arrives.


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
async def test_an_untrusted_certificate_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, scheme: str
) -> None:
    certificate = make_certificate(tmp_path)
    async with tls_server(certificate) as server:
        await use(server.port, scheme)
        assert server.received == b""
        assert "Valkey cannot be used" in caplog.text
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.cert))
        await use(server.port, scheme)
        assert b"geheim" in server.received, "a trusted certificate is accepted"


async def test_a_server_without_tls_gets_no_password(caplog: pytest.LogCaptureFixture) -> None:
    async with plain_server() as server:
        await use(server.port, "rediss")
        assert b"geheim" not in server.received
        assert "Valkey cannot be used" in caplog.text
