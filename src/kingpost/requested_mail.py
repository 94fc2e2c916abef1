"""Mail that anybody may have sent to an account by naming its address: always to the stored one, and not too often."""

from collections.abc import Mapping
from typing import Literal

from kingpost import audit, clock, one_time_tokens
from kingpost.audit import Action
from kingpost.emails import address
from kingpost.mail import Messages
from kingpost.model import Origin, User
from kingpost.one_time_tokens import HOUR, NewToken
from kingpost.storage.consequences import Claim, Consequences, Purpose
from kingpost.storage.one_time_tokens import Allowance, OneTimeTokens

MOST = 10
"""How many messages of a purpose an account gets in an hour. Whoever uses up one purpose must not withhold another."""

type RequestedTemplate = Literal["verify-email", "reset-password", "set-password"]

PURPOSES: Mapping[RequestedTemplate, Purpose] = {
    "verify-email": "verify-email",
    "reset-password": "reset-password",
    "set-password": "reset-password",
}
REQUESTED: Mapping[Purpose, Action] = {
    "verify-email": "user.verification_requested",
    "reset-password": "user.reset_requested",
}
COUNTED: Mapping[Purpose, tuple[Action, ...]] = {
    # The one that came with the sign-up counts as well.
    "verify-email": ("user.created", "user.verification_requested"),
    "reset-password": ("user.reset_requested",),
}
KILLS: Mapping[RequestedTemplate, tuple[Purpose, ...]] = {
    "verify-email": (),
    "reset-password": (),
    # Whoever signed up before may have been another: a link must no longer verify that one's password.
    "set-password": ("verify-email",),
}


class RequestedMail:
    """Sends links. Those beyond the limit are dropped in silence: only the mailbox shows whether a message went."""

    def __init__(self, tokens: OneTimeTokens, messages: Messages) -> None:
        self._tokens = tokens
        self._messages = messages

    async def send(self, template: RequestedTemplate, user: User, origin: Origin, claim: Claim) -> None:
        """Send a new link to an account's address, in place of its older ones. This finishes a job.

        Raises:
            NotFound: the account is gone.
            Superseded: the job is another worker's.
        """
        token = _new_token(template, user)
        consequences = self._consequences(template, user, token, origin, claim)
        await self._tokens.issue(token.stored, consequences, kills=KILLS[template], allowance=_allowance(template))

    async def renew(self, template: RequestedTemplate, user: User, origin: Origin, claim: Claim) -> bool:
        """As `send`, if the account has a living link of this kind. If not, nothing happens and the result is False."""
        token = _new_token(template, user)
        consequences = self._consequences(template, user, token, origin, claim)
        return await self._tokens.renew(token.stored, consequences, allowance=_allowance(template))

    def _consequences(
        self, template: RequestedTemplate, user: User, token: NewToken, origin: Origin, claim: Claim
    ) -> Consequences:
        entry = audit.entry(REQUESTED[PURPOSES[template]], "user", user.id, None, origin, template=template)
        message = self._messages.job(template, user.email, user.id, token=token.text)
        return Consequences((entry,), (message,), claim)


def _new_token(template: RequestedTemplate, user: User) -> NewToken:
    return one_time_tokens.new(PURPOSES[template], user.id, address(user.email))


def _allowance(template: RequestedTemplate) -> Allowance:
    return Allowance(COUNTED[PURPOSES[template]], MOST, clock.after(-HOUR))
