"""Mail templates: those that ship with Kingpost, and those of the operator that replace them."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PackageLoader, StrictUndefined, TemplateError
from jinja2 import select_autoescape as autoescape_in
from jinja2.sandbox import SandboxedEnvironment

from kingpost.mail import TEMPLATES, VALUES, TemplateName
from kingpost.mail.envelope import RenderedMail
from kingpost.settings import InvalidSettings

SUBJECT = "Subject: "
LAYOUT = "layout.html"
"""The base template of the shipped HTML templates."""
PAGES: Mapping[TemplateName, str] = {
    "verify-email": "/email/verify",
    "confirm-new-email": "/email/verify",
    "email-change-requested": "/email/stop",
    "set-password": "/password/reset",
    "reset-password": "/password/reset",
}
"""The path of the link in a message, by template."""
SAMPLES = {
    "token": "sample-token",
    "new_email": "a***@example.com",
    "hint": "kp_a1B2",
    "api_keys": "revoked",
    "asked_at": "2026-11-22 10:15 UTC",
    "asked_from": "192.0.2.1",
}


class Templates:
    """All templates. They are read, compiled and tested at start-up; later changes to the files have no effect."""

    def __init__(self, directory: str | None, public_url: str, sender_name: str) -> None:
        """Read and test the templates.

        Args:
            directory: the directory of the operator's templates; each replaces the shipped one of the same name.
            public_url: the start of links.
            sender_name: the sender's name in texts.

        Raises:
            InvalidSettings: with one sentence per broken template.
        """
        self._public_url = public_url
        self._sender_name = sender_name
        loaders: list[BaseLoader] = [PackageLoader("kingpost.mail", "templates")]
        if directory is not None:
            loaders.insert(0, FileSystemLoader(directory))
        # Sandboxed: a template can access only the values that it is rendered with.
        self._environment = SandboxedEnvironment(
            loader=ChoiceLoader(loaders),
            autoescape=autoescape_in(("html",)),
            undefined=StrictUndefined,
            auto_reload=False,
            cache_size=-1,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        faults = list(self._faults(None if directory is None else Path(directory)))
        if faults:
            raise InvalidSettings(faults)

    def render(self, name: TemplateName, values: Mapping[str, str]) -> RenderedMail:
        """Render a template with these values.

        Raises:
            TemplateError: the template is broken, or the first line of its text is not a subject.
        """
        head, _, text = self._render_file(f"{name}.txt", name, values).partition("\n")
        if not head.startswith(SUBJECT) or not head.removeprefix(SUBJECT).strip():
            raise TemplateError(f"its first line must be “{SUBJECT}…”")
        html = self._render_file(f"{name}.html", name, values)
        return RenderedMail(head.removeprefix(SUBJECT), text.strip() + "\n", html)

    def _render_file(self, file: str, name: TemplateName, values: Mapping[str, str]) -> str:
        variables = {"public_url": self._public_url, "sender_name": self._sender_name, **values}
        if name in PAGES:
            variables["link"] = f"{self._public_url}{PAGES[name]}?token={quote(values['token'], safe='')}"
        return self._environment.get_template(file).render(variables)

    def _faults(self, directory: Path | None) -> list[str]:
        """Return what is wrong with the templates. Each is rendered once with sample values."""
        faults = []
        if directory is not None:
            faults = _unknown_files(directory)
        for name in TEMPLATES:
            try:
                self.render(name, {value: SAMPLES[value] for value in VALUES[name]})
            # A template can raise anything: a division by zero, a RecursionError, a UnicodeDecodeError.
            except Exception as error:
                faults.append(f"The mail template {name} cannot be rendered: {_one_line(error)}.")
        return faults


def _unknown_files(directory: Path) -> list[str]:
    """Return a fault for each file that replaces no template. Files to be included have names that start with `_`."""
    known = {LAYOUT, *(f"{name}.{kind}" for name in TEMPLATES for kind in ("txt", "html"))}
    try:
        files = sorted(path.name for path in directory.iterdir() if path.suffix in (".txt", ".html"))
    except OSError as error:
        return [f"KINGPOST_MAIL_TEMPLATES cannot be read: {error.strerror}."]
    unknown = [name for name in files if name not in known and not name.startswith("_")]
    return [
        f"KINGPOST_MAIL_TEMPLATES: {name} is not a template of this release. "
        "Start the names of files that others include with “_”."
        for name in unknown
    ]


def _one_line(error: Exception) -> str:
    """Return an error in one line, with the file and line number of a syntax error."""
    message = " ".join(str(error).split()).removesuffix(".") or type(error).__name__
    file, line = getattr(error, "name", None), getattr(error, "lineno", None)
    return f"{file}, line {line}: {message}" if file and line else message
