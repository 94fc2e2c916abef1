"""Messages: their content, their format, and the file outbox."""

import asyncio
import html
import stat
from email import message_from_bytes, message_from_string, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from kingpost import settings
from kingpost.jobs.sealing import JobSealer, TryLater, UnreadableJob
from kingpost.jobs.store import ClaimedJob, SealedJob
from kingpost.mail import TEMPLATES, VALUES, Mail, Messages, TemplateName, masked
from kingpost.mail.delivery import Delivery
from kingpost.mail.envelope import Envelope, RenderedMail, Sender
from kingpost.mail.outbox import Outbox
from kingpost.mail.templates import PAGES, SAMPLES, Templates
from kingpost.secret import MasterSecret
from kingpost.settings import InvalidSettings, Settings

URL = "https://api.example.com"
SEALER = JobSealer(MasterSecret("a secret"))
MESSAGES = Messages(SEALER)
RENDERED = RenderedMail("Hello", "text\n", "<p>html</p>")


def templates(directory: Path | None = None, sender_name: str = "Example") -> Templates:
    return Templates(None if directory is None else str(directory), URL, sender_name)


def values_of(name: TemplateName) -> dict[str, str]:
    return {value: SAMPLES[value] for value in VALUES[name]}


def load(directory: Path, **variables: str) -> Settings:
    return settings.load({f"KINGPOST_{name}": value for name, value in variables.items()}, directory)


# --- messages ------------------------------------------------------------------------------------


def test_a_message_is_sealed_for_its_account() -> None:
    job = MESSAGES.job("reset-password", "ada@example.com", "the id", token="0123")
    assert (job.kind, job.user_id) == ("mail", "the id")
    assert b"ada@example.com" not in job.sealed
    assert b"0123" not in job.sealed
    assert SEALER.open(job, Mail) == Mail("reset-password", "ada@example.com", {"token": "0123"})


def test_the_message_to_the_old_address_does_not_name_the_new_address() -> None:
    job = MESSAGES.job("email-changed", "old@example.com", None, new_email="ada.king@example.org")
    assert SEALER.open(job, Mail).values == {"new_email": "a***@example.org"}
    assert masked("ä@bücher.example") == "ä***@bücher.example"


@pytest.mark.parametrize(
    ("template", "values"),
    [("verify-email", {}), ("password-changed", {"token": "x"}), ("reset-password", {"token": "x", "name": "Ada"})],
)
def test_a_template_gets_exactly_its_values(template: TemplateName, values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=template):
        MESSAGES.job(template, "ada@example.com", None, **values)


# --- templates -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_has_a_subject_a_text_and_html(name: TemplateName) -> None:
    rendered = templates().render(name, values_of(name))
    assert rendered.subject == rendered.subject.strip() != ""
    assert "Example" in rendered.text
    assert rendered.html.startswith("<!doctype html>")
    for part in (rendered.text, rendered.html):
        if name in PAGES:
            assert f"{URL}{PAGES[name]}?token={SAMPLES['token']}" in part
        else:
            assert "token" not in part
        assert "{{" not in part
        assert "{%" not in part


def test_every_link_starts_with_the_public_url() -> None:
    rendered = templates().render("reset-password", {"token": "a/b?c&d=é"})
    link = f"{URL}/password/reset?token=a%2Fb%3Fc%26d%3D%C3%A9"
    assert link in rendered.text
    assert f'href="{link}"' in rendered.html
    assert rendered.html.count("http") == rendered.html.count(link)


def test_values_are_escaped_in_html_but_not_in_text() -> None:
    rendered = templates(sender_name="R&D <script>").render("password-changed", {"api_keys": "kept"})
    assert "R&amp;D &lt;script&gt;" in rendered.html
    assert "R&D <script>" in rendered.text
    assert "<script>" not in rendered.html


@pytest.mark.parametrize("value", ["{{ 7 * 7 }}@example.com", "{% include 'layout.html' %}@x", "{# x #}@x", "<b>@x"])
def test_values_are_never_templates(value: str) -> None:
    rendered = templates().render("email-changed", {"new_email": value})
    assert value in rendered.text
    assert html.escape(value) in rendered.html.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")


def test_an_operator_can_replace_single_template_files(tmp_path: Path) -> None:
    (tmp_path / "verify-email.txt").write_text(
        "Subject: Welcome to {{ sender_name }}\n\nKlick: {{ link }} {{ token }}\n"
    )
    rendered = templates(tmp_path).render("verify-email", {"token": "T"})
    assert rendered.subject == "Welcome to Example"
    assert rendered.text == f"Klick: {URL}/email/verify?token=T T\n"
    assert "Confirm your e-mail address" in rendered.html
    assert templates(tmp_path).render("password-changed", {"api_keys": "kept"}) == templates().render(
        "password-changed", {"api_keys": "kept"}
    )


def test_an_operator_can_change_the_layout_of_all_messages(tmp_path: Path) -> None:
    (tmp_path / "_footer.html").write_text("<footer>{{ public_url }}</footer>")
    (tmp_path / "layout.html").write_text('<main>{% block content %}{% endblock %}</main>{% include "_footer.html" %}')
    for name in TEMPLATES:
        html = templates(tmp_path).render(name, values_of(name)).html
        assert html.startswith("<main>")
        assert html.endswith(f"</main><footer>{URL}</footer>")


def test_templates_are_read_once_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "password-changed.txt"
    file.write_text("Subject: One\n\none")
    made = templates(tmp_path)
    file.write_text("Subject: Two\n\n{{ broken")
    assert made.render("password-changed", {"api_keys": "kept"}).subject == "One"
    file.unlink()
    assert made.render("password-changed", {"api_keys": "kept"}).text == "one\n"


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("verify-email.txt", "Subject: Hello\n\n{{ link", "verify-email.txt, line 3: "),
        ("verify-email.txt", "Hello\n\n{{ link }}", "first line must be"),
        ("verify-email.txt", "Subject:   \n\n{{ link }}", "first line must be"),
        ("verify-email.txt", "", "first line must be"),
        ("verify-email.html", "{{ first_name }}", "'first_name' is undefined"),
        ("verify-email.html", "{{ 1 / 0 }}", "division by zero"),
        ("verify-email.html", '{% include "_nowhere.html" %}', "_nowhere.html"),
        ("verify-email.html", "{{ link.__class__.__mro__ }}", "unsafe"),
        ("password-changed.txt", "Subject: Hello\n\n{{ token }}", "'token' is undefined"),
        ("verify-email.txt", b"Subject: \xff\xfe\n\n", "utf-8"),
    ],
)
def test_a_broken_template_is_reported_in_one_sentence_at_the_start(
    tmp_path: Path, file: str, content: str | bytes, expected: str
) -> None:
    (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InvalidSettings) as caught:
        templates(tmp_path)
    (fault,) = caught.value.faults
    assert fault.startswith(f"The mail template {file.partition('.')[0]} cannot be rendered: ")
    assert expected in fault
    assert fault.endswith(".")
    assert "\n" not in fault


def test_every_broken_template_is_reported(tmp_path: Path) -> None:
    for name in ("verify-email.txt", "reset-password.html", "verify_email.txt"):
        (tmp_path / name).write_text("{{ broken")
    (tmp_path / "README").write_text("not a template")
    with pytest.raises(InvalidSettings) as caught:
        templates(tmp_path)
    assert len(caught.value.faults) == 3
    unknown = (
        "KINGPOST_MAIL_TEMPLATES: verify_email.txt is not a template of this release. "
        "Start the names of files that others include with “_”."
    )
    assert unknown in caught.value.faults


def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="KINGPOST_MAIL_TEMPLATES cannot be read: No such file"):
        templates(tmp_path / "nowhere")


# --- envelopes -----------------------------------------------------------------------------------


def envelope(
    to: str = "ada@example.com",
    rendered: RenderedMail = RENDERED,
    mail_from: str = "no-reply@example.com",
    url: str = URL,
) -> Envelope:
    return Sender(mail_from, url).envelope(JOB, rendered, to)


JOB = SealedJob("01a204a9-c875-7181-9d42-30f3e42e53bb", "mail", None, b"", "2026-11-22T10:15:30.123Z")


def parsed(envelope: Envelope) -> EmailMessage:
    if envelope.is_international:
        return message_from_string(envelope.content.decode(), policy=policy.default)
    return message_from_bytes(envelope.content, policy=policy.default)


def test_a_message_has_the_required_headers() -> None:
    message = parsed(envelope(mail_from="Büro Example <no-reply@example.com>"))
    assert message["From"] == "Büro Example <no-reply@example.com>"
    assert message["To"] == "ada@example.com"
    assert message["Message-ID"] == f"<{JOB.id}@api.example.com>"
    assert message["Date"].datetime.isoformat() == "2026-11-22T10:15:30+00:00"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert message.defects == []


def test_building_a_message_again_gives_the_same_message() -> None:
    assert envelope() == envelope()


def test_a_message_is_ascii_with_short_lines() -> None:
    content = envelope(rendered=RenderedMail("Ü" * 200, "Ü" * 2000, "<p>" + "ü" * 2000)).content
    assert content.isascii()
    assert max(len(line) for line in content.splitlines()) <= 78
    assert content.count(b"\n") == content.count(b"\r\n")


@pytest.mark.parametrize(
    ("to", "recipient", "is_international"),
    [
        ("Ada.King@Example.com", "Ada.King@example.com", False),
        ("ada@bücher.example", "ada@xn--bcher-kva.example", False),
        ("jörg@bücher.example", "jörg@xn--bcher-kva.example", True),
        ("o'neil+tag@localhost", "o'neil+tag@localhost", False),
    ],
)
def test_the_recipient_is_the_stored_address(to: str, recipient: str, is_international: bool) -> None:
    made = envelope(to)
    assert (made.recipient, made.is_international) == (recipient, is_international)
    (address,) = parsed(made)["To"].addresses
    assert address.addr_spec == recipient


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\x00"])
def test_a_subject_cannot_add_a_header(end: str) -> None:
    message = parsed(envelope(rendered=RenderedMail(f"Hello{end}Bcc: eve@example.com{end}{end}body", "text", "html")))
    assert message["Subject"] == "Hello Bcc: eve@example.com body"
    assert message["Bcc"] is None
    assert set(message.keys()) == {
        *("Date", "From", "To", "Message-ID", "Subject", "Auto-Submitted", "MIME-Version", "Content-Type")
    }


@pytest.mark.parametrize("to", ["ada@example.com\r\nBcc: eve@example.com", "ada@example.com, eve@example.com", "ada"])
def test_a_recipient_is_a_single_address(to: str) -> None:
    with pytest.raises(ValueError, match="valid e-mail"):
        envelope(to)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:8000", "[127.0.0.1]"),
        ("http://[::1]:8000", "[IPv6:::1]"),
        ("https://bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_the_host_of_the_public_url_is_valid_in_smtp(url: str, host: str) -> None:
    assert Sender("no-reply@localhost", url).host == host
    assert parsed(envelope(url=url))["Message-ID"] == f"<{JOB.id}@{host}>"


def test_a_link_is_not_encoded_in_the_message() -> None:
    link = "https://api.example.com/email/verify?token=" + "A-_9" * 30
    rendered = RenderedMail("Hello", f"Please follow:\n\n{link}\n", f'<a href="{link}">here</a>')
    raw = envelope(rendered=rendered).content.decode()
    assert f"\r\n{link}\r\n" in raw
    assert "quoted-printable" not in raw


def test_each_part_is_encoded_only_if_needed() -> None:
    raw = envelope(rendered=RenderedMail("Grüße", "Schöne Grüße", "x" * 999)).content.decode()
    assert raw.count("quoted-printable") == 2
    assert max(map(len, raw.splitlines())) <= 78


# --- the outbox ----------------------------------------------------------------------------------


async def test_the_outbox_has_one_private_file_per_message(tmp_path: Path) -> None:
    outbox, made = Outbox(tmp_path / "deep" / "outbox"), envelope()
    await asyncio.gather(*[outbox.send(made) for _ in range(8)])
    (file,) = (tmp_path / "deep" / "outbox").iterdir()
    assert file.name == f"{JOB.id}.eml"
    assert file.read_bytes() == made.content
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


async def test_a_write_to_a_failing_outbox_is_retried(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(TryLater, match="the outbox cannot be written: "):
        await Outbox(tmp_path / "file").send(envelope())
    (tmp_path / f"{JOB.id}.eml").mkdir()
    with pytest.raises(TryLater):
        await Outbox(tmp_path).send(envelope())
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{JOB.id}.eml", "file"]


# --- delivery ------------------------------------------------------------------------------------


async def test_a_job_is_delivered_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    delivery = Delivery.of(load(tmp_path), SEALER)
    job = MESSAGES.job("reset-password", "ada@example.com", None, token="0123")
    for attempt in (1, 2):
        await delivery.deliver(ClaimedJob(job, attempt))
    (file,) = (tmp_path / "outbox").iterdir()
    assert "http://127.0.0.1:8000/password/reset?token=0123" in file.read_text()


async def test_a_job_sealed_with_another_secret_is_refused(tmp_path: Path) -> None:
    delivery = Delivery.of(load(tmp_path, MAIL_URL=f"file:{tmp_path}/outbox"), JobSealer(MasterSecret("another")))
    with pytest.raises(UnreadableJob):
        await delivery.deliver(
            ClaimedJob(MESSAGES.job("password-changed", "ada@example.com", None, api_keys="kept"), 1)
        )
    assert list(tmp_path.iterdir()) == []


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *("smtp://localhost", "smtp://127.0.0.1:25", "smtp://[::1]:25", "smtps://user:p%40ss@mail.example.com:465"),
        *("smtp://user:pass@mail.example.com", "smtp://relay?starttls=required", "smtp://relay?starttls=off"),
        *("file:./outbox", "file:/var/outbox", "file:///var/outbox", "smtp://relay/"),
    ],
)
def test_mail_urls_can_name_servers_and_files(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, MAIL_URL=url).mail_url == url


@pytest.mark.parametrize(
    "url",
    [
        *("http://mail.example.com", "mail.example.com", "smtp:", "smtp://", "smtp://:25", "smtp://host:port", "file:"),
        *(
            "smtp://user:a/b@host",
            "smtp://user:a#b@host",
            "smtp://host?tls=1",
            "smtps://host?starttls=off",
            "smtp://[x",
        ),
        *("smtp://user:hunter2@host?starttls=off", "smtp://host:70000", "file:///", "smtp://host/path"),
        *("smtp://:hunter2@host", "smtp://@host"),
    ],
)
def test_an_invalid_mail_url_is_reported_without_its_value(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load(tmp_path, MAIL_URL=url)
    (fault,) = caught.value.faults
    assert fault.startswith("KINGPOST_MAIL_URL must") or "accepts only the options" in fault
    assert "hunter2" not in fault


@pytest.mark.parametrize("sender", ["ada@example.com", "Example <no-reply@example.com>", "A & B Inc. <x@localhost>"])
def test_a_sender_is_an_address_with_an_optional_name(tmp_path: Path, sender: str) -> None:
    assert parsed(envelope(mail_from=load(tmp_path, MAIL_FROM=sender).mail_from))["From"].addresses


@pytest.mark.parametrize(
    "sender",
    [
        *(
            "nobody",
            "@example.com",
            "a@b@c",
            "<a@example.com>",
            "A <a@example.com",
            "a@example.com>",
            "a b@example.com",
        ),
        *("A\nBcc: x@y.example <a@example.com>", "a@example..com", "a..b@example.com", "a@exa mple.com", "A <a@b> x"),
        *('"A" <a@example.com>', "A, B <a@example.com>", "jörg@example.com", "a@-example.com"),
    ],
)
def test_an_invalid_sender_is_reported(tmp_path: Path, sender: str) -> None:
    with pytest.raises(InvalidSettings, match="KINGPOST_MAIL_FROM must be an address"):
        load(tmp_path, MAIL_FROM=sender)


@pytest.mark.parametrize(
    ("url", "sender"),
    [
        ("https://api.example.com", "no-reply@api.example.com"),
        ("https://bücher.example:8443", "no-reply@xn--bcher-kva.example"),
        ("http://127.0.0.1:8000", "no-reply@localhost"),
        ("http://[::1]:8000", "no-reply@localhost"),
    ],
)
def test_the_default_sender_is_derived_from_the_public_url(tmp_path: Path, url: str, sender: str) -> None:
    assert load(tmp_path, PUBLIC_URL=url).mail_from == sender


def test_the_mail_user_and_password_are_masked(tmp_path: Path) -> None:
    shown: dict[str, Any] = settings.masked(load(tmp_path, MAIL_URL="smtp://ada:hunter2@mail.example.com:587"))
    assert shown["mail_url"] == "smtp://***@mail.example.com:587"
