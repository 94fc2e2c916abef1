"""TLS to PostgreSQL: what `sslmode` in the URL promises."""

import asyncio
from pathlib import Path

import pytest

from kingpost.storage import CannotOpen
from kingpost.storage.opening import open_database
from tests.fake_servers import Listening, plain_server, tls_server
from tests.system.certificates import make_certificate


async def refusal(server: Listening, options: str) -> str:
    """Try to open the database, and return the reason why it cannot be opened."""
    with pytest.raises(CannotOpen) as caught:
        await open_database(f"postgresql://kingpost:geheim@127.0.0.1:{server.port}/kingpost?{options}")
    await asyncio.sleep(0.05)  # What was sent last arrives.
    assert "geheim" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_nothing_is_sent_in_clear_when_tls_is_required(tmp_path: Path, mode: str) -> None:
    certificate = make_certificate(tmp_path)
    async with plain_server(postgresql=True) as server:
        reason = await refusal(server, f"sslmode={mode}&sslrootcert={certificate.cert}")
        assert "rejected SSL upgrade" in reason
        assert server.received == b""


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
async def test_an_untrusted_certificate_is_not_accepted(tmp_path: Path, mode: str) -> None:
    certificate, other = make_certificate(tmp_path), make_certificate(tmp_path, "other")
    async with tls_server(certificate, postgresql=True) as server:
        reason = await refusal(server, f"sslmode={mode}&sslrootcert={other.cert}")
        assert "cannot be reached over TLS: its certificate is not trusted (self-signed certificate)." in reason
        assert server.received == b""
        await refusal(server, f"sslmode={mode}&sslrootcert={certificate.cert}")
        assert b"kingpost" in server.received, "a trusted certificate is accepted"
