"""Mail over SMTP, with a real server on a real socket."""

import asyncio
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import psutil
import pytest

from kingpost.jobs.sealing import GiveUp, JobSealer, TryLater
from kingpost.mail import Messages
from kingpost.mail.envelope import Envelope, RenderedMail, Sender
from kingpost.mail.smtp import SMTPTransport
from kingpost.secret import MasterSecret
from tests import mail_server
from tests.mail_server import QUOTED_PASSWORD, USER, MailServer
from tests.servers import free_port
from tests.system.certificates import Certificate, make_certificate
from tests.timing import assert_within

RENDERED = RenderedMail("Grüße", "Hello\n.\nthere is a lone dot above\n", "<p>Hello</p>")
SENDER = Sender("Example <no-reply@example.com>", "https://api.example.com")
CREDENTIALS = f"{USER}:{QUOTED_PASSWORD}@"


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """A certificate that this process trusts, as if it came from the operator's own CA."""
    made = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.cert))
    return made


@pytest.fixture
def server() -> Generator[MailServer]:
    with mail_server.running() as server:
        yield server


def envelope(to: str = "ada@example.com") -> Envelope:
    job = Messages(JobSealer(MasterSecret("secret"))).job("password-changed", to, None, api_keys="kept")
    return SENDER.envelope(job, RENDERED, to)


def transport(server: MailServer, scheme: str = "smtp", credentials: str = "", query: str = "") -> SMTPTransport:
    url = f"{scheme}://{credentials}127.0.0.1:{server.port}{query}"
    return SMTPTransport(url, SENDER.host, reply_timeout=2.0, total_timeout=4.0)


async def fails(sending: SMTPTransport, to: str = "ada@example.com") -> str:
    """Return the reason why a message is to be sent later."""
    with pytest.raises(TryLater) as caught:
        await sending.send(envelope(to))
    return str(caught.value)


# --- delivery ------------------------------------------------------------------------------------


async def test_a_message_is_delivered_unchanged(server: MailServer) -> None:
    sent = envelope()
    await transport(server).send(sent)
    (message,), (received,) = server.received, server.envelopes
    assert (received.mail_from, received.rcpt_tos) == ("no-reply@example.com", ["ada@example.com"])
    assert message["Subject"] == "Grüße"
    assert message["Message-ID"] == f"<{sent.name}@api.example.com>"
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content().replace("\r\n", "\n") == RENDERED.text
    assert html.get_content().strip() == RENDERED.html
    assert server.sessions[0].host_name == "api.example.com"


async def test_a_local_part_outside_ascii_is_sent_unchanged_with_an_ascii_domain(server: MailServer) -> None:
    await transport(server).send(envelope("jörg@bücher.example"))
    (received,) = server.envelopes
    assert received.rcpt_tos == ["jörg@xn--bcher-kva.example"]
    assert "SMTPUTF8" in [option.upper() for option in received.mail_options]


async def test_a_domain_outside_ascii_does_not_need_smtputf8() -> None:
    with mail_server.running(enable_SMTPUTF8=False) as server:
        await transport(server).send(envelope("jorg@bücher.example"))
        assert server.envelopes[0].rcpt_tos == ["jorg@xn--bcher-kva.example"]
        assert "SMTPUTF8" in await fails(transport(server), "jörg@bücher.example")


# --- encryption and credentials ------------------------------------------------------------------


async def test_starttls_is_used_when_offered(certificate: Certificate) -> None:
    with mail_server.running(certificate) as server:
        await transport(server).send(envelope())
        assert server.sessions[0].ssl is not None


async def test_smtps_uses_implicit_tls(certificate: Certificate) -> None:
    with mail_server.running(certificate, is_implicit=True) as server:
        await transport(server, "smtps").send(envelope())
        assert len(server.received) == 1
        await fails(transport(server))
    with mail_server.running() as server:
        await fails(transport(server, "smtps"))


@pytest.mark.filterwarnings(
    "ignore:Requiring AUTH:UserWarning"
)  # aiosmtpd does not see that the whole connection uses TLS.
async def test_the_password_is_sent_over_tls(certificate: Certificate) -> None:
    options = {"auth_required": True, "authenticator": mail_server.only_with_password}
    with mail_server.running(certificate, **options) as server:
        await transport(server, credentials=CREDENTIALS).send(envelope())
        assert server.sessions[0].authenticated
        assert "refused our request: 530 5.7.0" in await fails(transport(server))
        reason = await fails(transport(server, credentials=f"{USER}:wrong@"))
        assert reason == "the mail server refused our credentials: 535 5.7.8"
    assert len(server.received) == 1
    with mail_server.running(certificate, is_implicit=True, auth_require_tls=False, **options) as server:
        await transport(server, "smtps", CREDENTIALS).send(envelope())
        assert server.sessions[0].authenticated


@pytest.mark.parametrize(("credentials", "query"), [(CREDENTIALS, ""), ("", "?starttls=required")])
async def test_nothing_is_sent_in_clear_when_tls_is_required(server: MailServer, credentials: str, query: str) -> None:
    reason = await fails(transport(server, credentials=credentials, query=query))
    assert "STARTTLS" in reason
    assert server.received == []


@pytest.mark.parametrize("is_implicit", [False, True])
async def test_an_untrusted_certificate_is_not_accepted(tmp_path: Path, is_implicit: bool) -> None:
    with mail_server.running(make_certificate(tmp_path), is_implicit=is_implicit) as server:
        reason = await fails(transport(server, "smtps" if is_implicit else "smtp"))
        assert "certificate verify failed" in reason.lower()
        assert server.received == []


async def test_a_relay_on_the_same_machine_can_be_used_without_tls(tmp_path: Path) -> None:
    with mail_server.running(make_certificate(tmp_path)) as server:
        await transport(server, query="?starttls=off").send(envelope())
        assert server.sessions[0].ssl is None


# --- refusals ------------------------------------------------------------------------------------


def refuse_recipients(server: MailServer, replies: Iterator[str]) -> None:
    server.recipient_replies = replies


def refuse_messages(server: MailServer, replies: Iterator[str]) -> None:
    server.data_replies = replies


REFUSALS = pytest.mark.parametrize(
    ("refuse", "what"), [(refuse_recipients, "recipient"), (refuse_messages, "message")], ids=["recipient", "message"]
)
type Refuse = Callable[[MailServer, Iterator[str]], None]


@REFUSALS
async def test_a_temporarily_refused_message_is_sent_later(server: MailServer, refuse: Refuse, what: str) -> None:
    refuse(server, iter(["451 4.7.1 <ada@example.com>: greylisted", "421 come back later"]))
    assert await fails(transport(server)) == f"the mail server refused the {what}: 451 4.7.1"
    assert await fails(transport(server)) == f"the mail server refused the {what}: 421"
    await transport(server).send(envelope())
    assert len(server.received) == 1


@REFUSALS
async def test_a_permanently_refused_message_is_abandoned_without_naming_the_recipient(
    server: MailServer, refuse: Refuse, what: str
) -> None:
    refuse(server, iter(["550 5.1.1 <ada@example.com>: no such user", "554 ada@example.com is not welcome"]))
    for code in ("550 5.1.1", "554"):
        with pytest.raises(GiveUp) as caught:
            await transport(server).send(envelope())
        assert str(caught.value) == f"the mail server refused the {what}: {code}"
    assert server.received == []


async def test_a_message_refused_for_its_configuration_is_sent_later(server: MailServer) -> None:
    server.sender_replies = iter(["550 5.7.1 no-reply@example.com may not send here"])
    assert await fails(transport(server)) == "the mail server refused our request: 550 5.7.1"
    server.recipient_replies = iter(["530 5.7.0 Authentication required"])
    assert await fails(transport(server)) == "the mail server refused the recipient: 530 5.7.0"
    await transport(server).send(envelope())


# --- faulty servers ------------------------------------------------------------------------------


async def test_a_server_that_is_down_is_reported_and_used_again_after_its_restart() -> None:
    server = MailServer()
    assert await fails(transport(server))
    server.start()
    try:
        await transport(server).send(envelope())
    finally:
        server.stop()
    assert len(server.received) == 1


async def test_an_unknown_host_is_reported() -> None:
    nowhere = SMTPTransport("smtp://mail.invalid", SENDER.host, reply_timeout=2.0, total_timeout=4.0)
    assert (await fails(nowhere)).startswith("the mail server cannot be used: ")


async def serve_raw(*lines: bytes, pause: float = 0.0) -> tuple[asyncio.Server, int]:
    """A server that sends these lines, one for each line it reads, and then nothing more."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in lines:
            writer.write(line)
            await writer.drain()
            await reader.readline()
            await asyncio.sleep(pause)
        await reader.read()
        writer.close()

    port = free_port()
    return await asyncio.start_server(talk, "127.0.0.1", port), port


@pytest.mark.parametrize(
    "lines",
    [(), (b"220 hello\r\n",), (b"220 hello\r\n", b"250 hello\r\n"), (b"220 hello\r\n", b"250 a\r\n", b"250 b\r\n")],
)
async def test_a_silent_server_times_out(lines: tuple[bytes, ...]) -> None:
    listening, port = await serve_raw(*lines)
    async with listening:
        silent = SMTPTransport(f"smtp://127.0.0.1:{port}", SENDER.host, reply_timeout=0.3, total_timeout=60)
        async with asyncio.timeout(30):
            assert await fails(silent) == "the mail server cannot be used: it timed out"


async def test_a_server_that_is_slow_at_every_step_times_out() -> None:
    listening, port = await serve_raw(b"220 hello\r\n", *[b"250 yes\r\n"] * 99, pause=0.4)
    async with listening:
        slow = SMTPTransport(f"smtp://127.0.0.1:{port}", SENDER.host, reply_timeout=60, total_timeout=0.6)
        async with asyncio.timeout(30):
            assert await fails(slow) == "the mail server cannot be used: it timed out"


@pytest.mark.parametrize("line", [b"HTTP/1.1 400 Bad Request\r\n", b"\xff\xfe\r\n", b"554 go away\r\n", b"x" * 20_000])
async def test_a_server_that_does_not_speak_smtp_is_reported(line: bytes) -> None:
    listening, port = await serve_raw(line)
    async with listening:
        odd = SMTPTransport(f"smtp://127.0.0.1:{port}", SENDER.host, reply_timeout=0.5, total_timeout=4.0)
        assert (await fails(odd)).startswith("the mail server ")


async def test_an_accepted_message_is_delivered_even_if_quit_fails() -> None:
    replies = [b"220 hello\r\n", b"250 hello\r\n", b"250 sender\r\n", b"250 recipient\r\n", b"354 go on\r\n"]
    read = bytearray()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            writer.write(reply)
            await writer.drain()
            read.extend(await reader.readline())
        read.extend(await reader.readuntil(b"\r\n.\r\n"))
        writer.write(b"250 accepted\r\n")
        await writer.drain()
        await reader.readline()  # QUIT
        writer.transport.abort()

    async with await asyncio.start_server(talk, "127.0.0.1", port := free_port()):
        await SMTPTransport(f"smtp://127.0.0.1:{port}", SENDER.host).send(envelope())
    assert b"\r\nSubject: " in read


async def test_no_connection_is_left_open(server: MailServer) -> None:
    await transport(server).send(envelope())
    server.recipient_replies = iter(["451 not now"])
    await fails(transport(server))

    async def none_is_open() -> bool:
        ends = [end for end in psutil.Process().net_connections("tcp") if end.raddr and end.raddr.port == server.port]
        return not any(end.status == psutil.CONN_ESTABLISHED for end in ends)

    await assert_within(10, none_is_open)
