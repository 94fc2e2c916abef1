"""Secrets of a run, and the search for them in any place and any form."""

import base64
import secrets
from collections.abc import Iterator, Mapping
from typing import Any


def forms(value: bytes) -> Iterator[bytes]:
    """The ways in which bytes may lie in a file: as they are, in hexadecimal, and within longer base64."""
    yield value
    yield value.hex().encode()
    yield value.hex().upper().encode()
    for before in range(3):
        # Only those characters that do not depend on what stands before and after.
        first, last = -(-before * 8 // 6), (before + len(value)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + value)[first:last]


class Secrets:
    """All the secrets of a run, by what they are."""

    def __init__(self) -> None:
        self._values: list[tuple[str, bytes]] = []

    def add(self, what: str, text: str, *raw: bytes) -> str:
        """Take note of a secret as it is written, and of the bytes that it stands for; return it."""
        self._values += [(what, value) for value in (text.encode(), *raw)]
        return text

    def password(self, what: str) -> str:
        """A new password."""
        return self.add(f"password {what}", f"{secrets.token_hex(4)} horse {secrets.token_hex(4)}")

    def random(self, what: str, token: str) -> str:
        """A token in base64url."""
        return self.add(what, token, base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))

    def grant(self, answer: Mapping[str, Any]) -> None:
        """What a login or a refresh gave."""
        token = answer["refresh_token"]
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        self.add("refresh token", token, raw, raw[16:48])
        self.add("access token", answer["access_token"])
        self.random("access token's signature", answer["access_token"].rpartition(".")[2])

    def found_in(self, place: bytes) -> set[str]:
        """What lies there in any form."""
        return {what for what, value in self._values if any(form in place for form in forms(value))}

    def __len__(self) -> int:
        return len(self._values)
