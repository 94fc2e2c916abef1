"""Proving that an address is the account's own, and moving an account to another address."""

from collections.abc import Mapping

import msgspec

from kingpost import audit, clock
from kingpost.accounts.mail_requests import RequestedMail
from kingpost.accounts.one_time_tokens import tokens as one_time_tokens
from kingpost.accounts.one_time_tokens.tokens import UNKNOWN, hash_of
from kingpost.emails import NormalisedEmail
from kingpost.jobs.runner import Handler
from kingpost.mail import Messages
from kingpost.model import Origin, Principal, User
from kingpost.problems import InvalidRequest, NotFound
from kingpost.storage import UserChange, Users
from kingpost.storage.consequences import Consequences
from kingpost.storage.jobs import ClaimedJob
from kingpost.storage.one_time_tokens import OneTimeTokens

RESEND = "email.resend"


class Verification:
    """Sends links to addresses, and believes an address once its link has been used."""

    def __init__(
        self,
        users: Users,
        tokens: OneTimeTokens,
        mail: RequestedMail,
        messages: Messages,
        *,
        verified_only: bool,
    ) -> None:
        """`verified_only` demands a verified address of whoever logs in (see decision 9)."""
        self._users = users
        self._tokens = tokens
        self._mail = mail
        self._messages = messages
        self._verified_only = verified_only

    def request(self, user_id: str, email: NormalisedEmail) -> Consequences:
        """What goes with an address that is stored unproved: a token, and the message that takes it there."""
        token = one_time_tokens.new("verify-email", user_id, email)
        message = self._messages.job("verify-email", email.address, user_id, token=token.text)
        return Consequences(jobs=(message,), tokens=(token.stored,))

    def waits_for(self, principal: Principal, user: User) -> bool:
        """Whether a new address of this account has to be confirmed before it takes the place of the old one."""
        return self._verified_only and principal.user_id == user.id

    def move(self, user: User, email: NormalisedEmail) -> tuple[UserChange, Consequences]:
        """What changes with an address that is new at once, and what goes with it: word to both addresses."""
        asked = self.request(user.id, email)
        notice = self._messages.job("email-changed", user.email, user.id, new_email=email.address)
        change = UserChange(email=email.address, email_key=email.key, email_verified=False)
        return change, msgspec.structs.replace(asked, jobs=(*asked.jobs, notice))

    def ask(self, user: User, email: NormalisedEmail) -> Consequences:
        """What goes with the wish for an address that has to be confirmed first.

        The same is done for an address that another account has: only who reads its mail learns that it is taken.
        """
        token = one_time_tokens.new("change-email", user.id, email)
        message = self._messages.job("confirm-new-email", email.address, user.id, token=token.text)
        return Consequences(jobs=(message,), tokens=(token.stored,))

    async def verify(self, text: str, origin: Origin) -> None:
        """Verify an address, or move an account to it, with the token of a link.

        Raises:
            InvalidRequest: the token is not good (any more).
            Conflict: the new address belongs to another account by now.
        """
        at = clock.now()
        found = await self._tokens.find(hash_of(text), at)
        if found is None or found[0].purpose == "reset-password":
            raise InvalidRequest.of(UNKNOWN)
        token, user = found
        consequences = Consequences((audit.entry("user.email_verified", "user", user.id, None, origin),))
        if token.purpose == "change-email":
            moved = audit.entry("user.changed", "user", user.id, None, origin, fields=["email"])
            notice = self._messages.job("email-changed", user.email, user.id, new_email=token.email)
            consequences = Consequences((*consequences.audit, moved), (notice,))
        if await self._tokens.confirm_email(token.token_hash, at, consequences) is None:
            raise InvalidRequest.of(UNKNOWN)

    async def resend(self, email: str, origin: Origin) -> None:
        """Have another link sent to whatever account has this address, unless it is verified.

        Nothing is looked up before this returns, so that neither result nor time tells whether there is one.

        Raises:
            InvalidRequest: it is no address, whoever might have it.
        """
        await self._mail.ask(RESEND, email, origin)

    async def resend_own(self, principal: Principal, origin: Origin) -> None:
        """Have another link sent to the caller's own address, unless it is verified.

        Raises:
            NotFound: the account is gone.
        """
        user = await self._users.find(principal.user_id)
        if user is None:
            raise NotFound()
        await self.resend(user.email, origin)

    def handlers(self) -> Mapping[str, Handler]:
        """What does the jobs that are stored here, by kind."""
        return {RESEND: self._send}

    async def _send(self, claimed: ClaimedJob) -> None:
        asked = await self._mail.asked_for(claimed)
        if asked is None or asked[0].email_verified:
            return
        (user, origin), claim = asked, claimed.claim
        if not self._verified_only:
            await self._mail.send("verify-email", user, origin, claim)
        # A link that was killed, since nobody knows who set the password, must not come back.
        elif not await self._mail.renew("verify-email", user, origin, claim):
            await self._mail.send("set-password", user, origin, claim)
