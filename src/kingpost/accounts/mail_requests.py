"""Mail that anybody may have sent to an account by naming its address: always to the stored one, and not too often."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from kingpost import audit, clock
from kingpost.accounts.one_time_tokens import tokens as one_time_tokens
from kingpost.accounts.one_time_tokens.tokens import HOUR, NewToken
from kingpost.audit.entries import Action
from kingpost.emails import address, email_faults
from kingpost.jobs.sealing import JobSealer
from kingpost.mail import Messages
from kingpost.model import Origin, User
from kingpost.problems import InvalidRequest
from kingpost.storage import Users
from kingpost.storage.consequences import Claim, Consequences, Purpose
from kingpost.storage.jobs import ClaimedJob, Jobs
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


class MailRequest(msgspec.Struct, frozen=True):
    """Whose mail somebody asks for, and from where."""

    email: str
    origin: Origin


class RequestedMail:
    """Sends links. Those beyond the limit are dropped in silence: only the mailbox shows whether a message went."""

    def __init__(self, users: Users, tokens: OneTimeTokens, jobs: Jobs, sealer: JobSealer, messages: Messages) -> None:
        self._users = users
        self._tokens = tokens
        self._jobs = jobs
        self._sealer = sealer
        self._messages = messages

    async def ask(self, kind: str, email: str, origin: Origin) -> None:
        """Store, as a job of a kind, that somebody wants mail sent to whatever account has this address.

        Nothing is looked up before this returns, so that neither result nor time tells whether there is one.

        Raises:
            InvalidRequest: it is no address, whoever might have it.
        """
        if faults := email_faults(email):
            raise InvalidRequest.of(*faults)
        await self._jobs.add(self._sealer.seal(kind, MailRequest(email, origin), None))

    async def asked_for(self, claimed: ClaimedJob) -> tuple[User, Origin] | None:
        """The account that such a job is about, and from where it was asked for; None if no account has the address."""
        request = self._sealer.open(claimed.job, MailRequest)
        credentials = await self._users.find_credentials(address(request.email).key)
        return None if credentials is None else (credentials.user, request.origin)

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
