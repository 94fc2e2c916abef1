"""The secrets of a run, and a search for them in any encoding."""

import base64
import secrets
from collections.abc import Iterator, Mapping
from typing import Any


def forms(value: bytes) -> Iterator[bytes]:
    """The forms in which bytes can occur in a file: raw, in hexadecimal, and within longer base64."""
    yield value
    yield value.hex().encode()
    yield value.hex().upper().encode()
    for before in range(3):
        # Only the characters that do not depend on the bytes before and after.
        first, last = -(-before * 8 // 6), (before + len(value)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + value)[first:last]


class Secrets:
    """All secrets of a run, by their description."""

    def __init__(self) -> None:
        self._values: list[tuple[str, bytes]] = []

    def add(self, what: str, text: str, *raw: bytes) -> str:
        """Record a secret as text, and the bytes that it encodes; return the text."""
        self._values += [(what, value) for value in (text.encode(), *raw)]
        return text

    def password(self, what: str) -> str:
        """A new password."""
        return self.add(f"password {what}", f"{secrets.token_hex(4)} horse {secrets.token_hex(4)}")

    def random(self, what: str, token: str) -> str:
        """A token in base64url."""
        return self.add(what, token, base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))

    def grant(self, answer: Mapping[str, Any]) -> None:
        """Record the tokens of a login or a refresh."""
        token = answer["refresh_token"]
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        self.add("refresh token", token, raw, raw[16:48])
        self.add("access token", answer["access_token"])
        self.random("access token's signature", answer["access_token"].rpartition(".")[2])

    def found_in(self, place: bytes) -> set[str]:
        """Return the descriptions of the secrets found in any form."""
        return {what for what, value in self._values if any(form in place for form in forms(value))}

    def __len__(self) -> int:
        return len(self._values)
