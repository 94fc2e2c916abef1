"""What messages say: templates that ship with Kingpost, any of which an operator may replace."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PackageLoader, StrictUndefined, TemplateError
from jinja2 import select_autoescape as autoescape_in
from jinja2.sandbox import SandboxedEnvironment

from kingpost.mail import TEMPLATES, VALUES, TemplateName
from kingpost.mail.envelope import Letter
from kingpost.settings import InvalidSettings

SUBJECT = "Subject: "
LAYOUT = "layout.html"
"""What all HTML parts of the shipped templates have in common."""
PAGES: Mapping[TemplateName, str] = {
    "verify-email": "/email/verify",
    "confirm-new-email": "/email/verify",
    "set-password": "/password/reset",
    "reset-password": "/password/reset",
}
"""Where the link of a message leads."""
SAMPLES = {"token": "sample-token", "new_email": "a***@example.com", "hint": "kp_a1B2"}


class Templates:
    """All templates, compiled and tried out: what was read at the start stays until the end."""

    def __init__(self, directory: str | None, public_url: str, sender_name: str) -> None:
        """Read the templates.

        Args:
            directory: where the operator's own are; each takes the place of the shipped one of the same name.
            public_url: what links start with.
            sender_name: who writes, as texts call it.

        Raises:
            InvalidSettings: with a sentence for each of the operator's templates that is broken.
        """
        self._public_url = public_url
        self._sender_name = sender_name
        loaders: list[BaseLoader] = [PackageLoader("kingpost.mail", "templates")]
        if directory is not None:
            loaders.insert(0, FileSystemLoader(directory))
        # Nothing in a template can reach anything but the texts that it is given.
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

    def render(self, name: TemplateName, values: Mapping[str, str]) -> Letter:
        """What a message says with these values."""
        head, _, text = self._fill(f"{name}.txt", name, values).partition("\n")
        if not head.startswith(SUBJECT) or not head.removeprefix(SUBJECT).strip():
            raise TemplateError(f"its first line must be “{SUBJECT}…”")
        html = self._fill(f"{name}.html", name, values)
        return Letter(head.removeprefix(SUBJECT), text.strip() + "\n", html)

    def _fill(self, file: str, name: TemplateName, values: Mapping[str, str]) -> str:
        given = {"public_url": self._public_url, "sender_name": self._sender_name, **values}
        if name in PAGES:
            given["link"] = f"{self._public_url}{PAGES[name]}?token={quote(values['token'], safe='')}"
        return self._environment.get_template(file).render(given)

    def _faults(self, directory: Path | None) -> list[str]:
        """What is wrong with the templates, found by using them all."""
        faults = []
        if directory is not None:
            faults = _unknown_files(directory)
        for name in TEMPLATES:
            try:
                self.render(name, {value: SAMPLES[value] for value in VALUES[name]})
            # Anything may happen in there: a division by zero, an endless recursion, a file that is no text.
            except Exception as error:
                faults.append(f"The mail template {name} cannot be used: {_one_line(error)}.")
        return faults


def _unknown_files(directory: Path) -> list[str]:
    """Files that would replace nothing. What an operator's templates include starts with `_`."""
    known = {LAYOUT, *(f"{name}.{kind}" for name in TEMPLATES for kind in ("txt", "html"))}
    try:
        files = sorted(path.name for path in directory.iterdir() if path.suffix in (".txt", ".html"))
    except OSError as error:
        return [f"KINGPOST_MAIL_TEMPLATES cannot be read: {error.strerror}."]
    unknown = [name for name in files if name not in known and not name.startswith("_")]
    return [f"KINGPOST_MAIL_TEMPLATES: {name} is no template of this release." for name in unknown]


def _one_line(error: Exception) -> str:
    """An error in one line; a template's syntax error says in which."""
    told = " ".join(str(error).split()).removesuffix(".") or type(error).__name__
    file, line = getattr(error, "name", None), getattr(error, "lineno", None)
    return f"{file}, line {line}: {told}" if file and line else told
