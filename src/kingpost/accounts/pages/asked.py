"""Who asked for a link, when and from where: so that a person who did not sign up sees that a stranger did."""

from html import escape

from kingpost import clock
from kingpost.accounts.one_time_tokens.store import OneTimeToken, OneTimeTokenStore
from kingpost.accounts.one_time_tokens.tokens import hash_of
from kingpost.model import User
from kingpost.problems import Unavailable

UNKNOWN = "unknown"
FOR_ADDRESSES = ("verify-email", "change-email")


class AskedFor:
    """Finds out who asked for the link that a page was opened with."""

    def __init__(self, tokens: OneTimeTokenStore) -> None:
        self._tokens = tokens

    async def describe(self, text: str | None) -> str:
        """Return HTML that describes who asked for a link that verifies an address. The token stays valid.

        It is empty for a token that is not valid, and while the database does not answer: the button still works.
        All values come from the client that asked for the link, so they are escaped.
        """
        if text is None:
            return ""
        try:
            found = await self._tokens.find(hash_of(text), clock.now())
        except Unavailable:
            return ""
        return "" if found is None or found[0].purpose not in FOR_ADDRESSES else _html(*found)


def _html(token: OneTimeToken, user: User) -> str:
    rows = {
        "Address": token.email,
        "Name of the account": user.name or "none",
        "Account created": clock.to_the_minute(user.created_at),
        "Link asked for": clock.to_the_minute(token.created_at),
        "From": token.address or UNKNOWN,
        "With": token.device or UNKNOWN,
    }
    # `bdi` keeps text that is written from right to left from rearranging what is around it.
    items = "".join(f"<dt>{term}</dt><dd><bdi>{escape(value)}</bdi></dd>" for term, value in rows.items())
    return f"<dl>{items}</dl><p>If this was not you, someone else used your address: do not press the button.</p>"
