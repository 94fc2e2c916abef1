"""Mail that anyone may request for an account by naming its address.

It always goes to the stored address, and not too often. A request is enqueued before anything is looked up, so that
neither the answer nor its time reveals whether the address has an account.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from kingpost import audit, clock
from kingpost.accounts.one_time_tokens import tokens as one_time_tokens
from kingpost.accounts.one_time_tokens.store import Allowance, OneTimeTokenStore, Purpose
from kingpost.accounts.one_time_tokens.tokens import HOUR, NewToken
from kingpost.accounts.users.store import UserStore
from kingpost.emails import address, email_faults
from kingpost.jobs.runner import Handler
from kingpost.jobs.sealing import JobSealer
from kingpost.jobs.store import ClaimedJob, FinishJob, JobStore
from kingpost.mail import Messages
from kingpost.model import Context, Origin, User
from kingpost.problems import InvalidRequest, NotFound
from kingpost.storage.effects import Effects

RESET = "password.forgot"
VERIFICATION = "email.resend"
"""The kinds of enqueued requests."""

MAX_PER_HOUR = 10
"""Messages per account, purpose and hour. Purposes are counted separately, so that requests for one cannot block
another."""

type RequestedTemplate = Literal["verify-email", "reset-password", "set-password"]

PURPOSES: Mapping[RequestedTemplate, Purpose] = {
    "verify-email": "verify-email",
    "reset-password": "reset-password",
    "set-password": "reset-password",
}
REQUESTED: Mapping[Purpose, audit.Action] = {
    "verify-email": "user.verification_requested",
    "reset-password": "user.reset_requested",
}
COUNTED: Mapping[Purpose, tuple[audit.Action, ...]] = {
    # The message that is sent at sign-up counts, too.
    "verify-email": ("user.created", "user.verification_requested"),
    "reset-password": ("user.reset_requested",),
}
KILLS: Mapping[RequestedTemplate, tuple[Purpose, ...]] = {
    "verify-email": (),
    "reset-password": (),
    # Someone else may have signed up with this address before: revoke the link that would verify their account.
    "set-password": ("verify-email",),
}


class MailRequest(msgspec.Struct, frozen=True):
    """The payload of an enqueued request: the address, and the origin of the request."""

    email: str
    origin: Origin


class MailRequests:
    """Enqueues requests for links, and sends the links.

    Requests beyond the limit are dropped silently: only the mailbox shows whether a message was sent.
    """

    def __init__(
        self,
        users: UserStore,
        tokens: OneTimeTokenStore,
        jobs: JobStore,
        sealer: JobSealer,
        messages: Messages,
        *,
        verified_only: bool,
    ) -> None:
        """With `verified_only`, only accounts with a verified address can log in (see decision 9)."""
        self._users = users
        self._tokens = tokens
        self._jobs = jobs
        self._sealer = sealer
        self._messages = messages
        self._verified_only = verified_only

    async def request_reset(self, context: Context, email: str) -> None:
        """Request a link that allows a new password, for the account with this address, if there is one.

        Raises:
            InvalidRequest: `email` is not an address.
        """
        await self._enqueue(context, RESET, email)

    async def request_verification(self, context: Context, email: str) -> None:
        """Request another link that verifies an address, unless it is verified.

        Raises:
            InvalidRequest: as for `request_reset`.
        """
        await self._enqueue(context, VERIFICATION, email)

    async def request_own_verification(self, context: Context) -> None:
        """Request another link that verifies the caller's own address, unless it is verified.

        Raises:
            NotFound: the account is gone.
        """
        user = await self._users.find(context.caller.user_id)
        if user is None:
            raise NotFound()
        await self._enqueue(context, VERIFICATION, user.email)

    async def send(self, context: Context, template: RequestedTemplate, user: User, finish: FinishJob) -> None:
        """Send a new link to an account's address, replacing older ones, and finish the claimed job.

        Raises:
            NotFound: the account is gone.
            Superseded: another worker has claimed the job.
        """
        token = _new_token(context, template, user)
        effects = self._effects(context, template, user, token, finish)
        await self._tokens.issue(token.stored, effects, kills=KILLS[template], allowance=_allowance(template))

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handlers of the jobs that are enqueued here, by kind."""
        return {RESET: self._send_reset, VERIFICATION: self._send_verification}

    async def _enqueue(self, context: Context, kind: str, email: str) -> None:
        if faults := email_faults(email):
            raise InvalidRequest.of(*faults)
        await self._jobs.add(self._sealer.seal(kind, MailRequest(email, context.origin), None))

    async def _send_reset(self, claimed: ClaimedJob) -> None:
        context, user = await self._opened(claimed)
        if user is not None:
            await self.send(context, "reset-password", user, claimed.finish)

    async def _send_verification(self, claimed: ClaimedJob) -> None:
        context, user = await self._opened(claimed)
        if user is None or user.email_verified:
            return
        if not self._verified_only:
            await self.send(context, "verify-email", user, claimed.finish)
        # A link that was revoked, because someone else may have set the password, must not be sent again.
        elif not await self._renew(context, "verify-email", user, claimed.finish):
            await self.send(context, "set-password", user, claimed.finish)

    async def _opened(self, claimed: ClaimedJob) -> tuple[Context, User | None]:
        """Return the context of an enqueued request, and the account with its address, if there is one."""
        request = self._sealer.open(claimed.job, MailRequest)
        return Context(None, request.origin), await self._users.find_by_email(address(request.email).key)

    async def _renew(self, context: Context, template: RequestedTemplate, user: User, finish: FinishJob) -> bool:
        """Send a new link if the account has one of this kind that is still valid; return whether it has."""
        token = _new_token(context, template, user)
        effects = self._effects(context, template, user, token, finish)
        return await self._tokens.renew(token.stored, effects, allowance=_allowance(template))

    def _effects(
        self, context: Context, template: RequestedTemplate, user: User, token: NewToken, finish: FinishJob
    ) -> Effects:
        entry = audit.entry(context, REQUESTED[PURPOSES[template]], "user", user.id, template=template)
        values = token.values if template == "verify-email" else {"token": token.text}
        message = self._messages.job(template, user.email, user.id, **values)
        return [entry, message, finish]


def _new_token(context: Context, template: RequestedTemplate, user: User) -> NewToken:
    return one_time_tokens.new(PURPOSES[template], user.id, address(user.email), context.origin)


def _allowance(template: RequestedTemplate) -> Allowance:
    return Allowance(COUNTED[PURPOSES[template]], MAX_PER_HOUR, clock.after(-HOUR))
