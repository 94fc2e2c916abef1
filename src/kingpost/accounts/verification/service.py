"""Verification of addresses, and moving an account to another address."""

import msgspec

from kingpost import audit, clock
from kingpost.accounts.one_time_tokens import tokens as one_time_tokens
from kingpost.accounts.one_time_tokens.store import OneTimeTokenStore
from kingpost.accounts.one_time_tokens.tokens import UNKNOWN, hash_of
from kingpost.emails import NormalisedEmail
from kingpost.mail import Messages
from kingpost.model import Context, Principal, User
from kingpost.problems import InvalidRequest
from kingpost.storage.effects import Effects


class Verification:
    """Sends links to addresses, and marks an address as verified once its link has been used."""

    def __init__(
        self,
        tokens: OneTimeTokenStore,
        messages: Messages,
        *,
        verified_only: bool,
    ) -> None:
        """`verified_only` lets only accounts with a verified address log in (see decision 9)."""
        self._tokens = tokens
        self._messages = messages
        self._verified_only = verified_only

    def request(self, user_id: str, email: NormalisedEmail) -> Effects:
        """Return the effects of storing an unverified address: a one-time token, and the mail that carries it."""
        token = one_time_tokens.new("verify-email", user_id, email)
        message = self._messages.job("verify-email", email.address, user_id, token=token.text)
        return [token.stored, message]

    def waits_for(self, principal: Principal, user: User) -> bool:
        """Return whether a new address of this account has to be confirmed before it replaces the old one."""
        return self._verified_only and principal.user_id == user.id

    def move(self, user: User, email: NormalisedEmail) -> Effects:
        """Return the effects of a new address that is set at once: a link to it, and a notice to the old one."""
        notice = self._messages.job("email-changed", user.email, user.id, new_email=email.address)
        return [*self.request(user.id, email), notice]

    def ask(self, user: User, email: NormalisedEmail) -> Effects:
        """Return the effects of asking for an address that has to be confirmed first: a token and its mail.

        They are the same for an address that another account has, so that only its mailbox reveals that it is taken.
        """
        token = one_time_tokens.new("change-email", user.id, email)
        message = self._messages.job("confirm-new-email", email.address, user.id, token=token.text)
        return [token.stored, message]

    async def verify(self, context: Context, text: str) -> None:
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
        effects: list[msgspec.Struct] = [audit.entry(context, "user.email_verified", "user", user.id)]
        if token.purpose == "change-email":
            moved = audit.entry(context, "user.changed", "user", user.id, fields=["email"])
            notice = self._messages.job("email-changed", user.email, user.id, new_email=token.email)
            effects += [moved, notice]
        if await self._tokens.confirm_email(token.token_hash, at, effects) is None:
            raise InvalidRequest.of(UNKNOWN)
