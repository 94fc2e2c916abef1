"""Verification of e-mail addresses, and changes of an account's address."""

import msgspec

from kingpost import audit, clock
from kingpost.accounts.one_time_tokens import tokens as one_time_tokens
from kingpost.accounts.one_time_tokens.store import OneTimeTokenStore
from kingpost.accounts.one_time_tokens.tokens import UNKNOWN, hash_of
from kingpost.auth.revocations.service import Revocations
from kingpost.emails import NormalisedEmail, address
from kingpost.mail import Messages
from kingpost.model import Context, Origin, Principal, User
from kingpost.problems import InvalidRequest
from kingpost.storage.effects import Effects


class Verification:
    """Sends links to addresses, and marks an address as verified when its link is used."""

    def __init__(
        self,
        tokens: OneTimeTokenStore,
        messages: Messages,
        revocations: Revocations,
        *,
        verified_only: bool,
    ) -> None:
        """With `verified_only`, only accounts with a verified address can log in (see decision 9)."""
        self._tokens = tokens
        self._messages = messages
        self._revocations = revocations
        self._verified_only = verified_only

    def request(self, context: Context, user_id: str, email: NormalisedEmail) -> Effects:
        """Return the effects of storing an unverified address: a one-time token, and the mail that carries it."""
        token = one_time_tokens.new("verify-email", user_id, email, _shown_origin(context))
        message = self._messages.job("verify-email", email.address, user_id, **token.values)
        return [token.stored, message]

    def waits_for(self, principal: Principal, user: User) -> bool:
        """Return whether a new address that this caller sets must be confirmed before it replaces the old one."""
        return self._verified_only and principal.user_id == user.id

    def move(self, context: Context, user: User, email: NormalisedEmail) -> Effects:
        """Return the effects of setting a new address immediately: a link to it, and a notice to the old one."""
        notice = self._messages.job("email-changed", user.email, user.id, new_email=email.address)
        return [*self.request(context, user.id, email), notice]

    def ask(self, context: Context, user: User, email: NormalisedEmail) -> tuple[str, Effects]:
        """Return when the request for a new address expires, and its effects.

        These are a link to the new address that confirms it, and a link to the old one that stops the change. They are
        the same if another account has the address, so that the response does not reveal this.
        """
        token = one_time_tokens.new("change-email", user.id, email, _shown_origin(context))
        message = self._messages.job("confirm-new-email", email.address, user.id, **token.values)
        stop = one_time_tokens.new("stop-email-change", user.id, address(user.email), _shown_origin(context))
        values = {"token": stop.text, "new_email": email.address}
        notice = self._messages.job("email-change-requested", user.email, user.id, **values)
        return token.stored.expires_at, [token.stored, message, stop.stored, notice]

    async def verify(self, context: Context, text: str) -> None:
        """Verify an address, or complete a change of address, with the token from a link.

        The first proof of an address removes what was set up before it: another person may have signed up with the
        address. A caller with a session of this very account is its owner, who keeps everything.

        Raises:
            InvalidRequest: the token is unknown, used or expired.
            Conflict: another account has the new address.
        """
        at = clock.now()
        found = await self._tokens.find(hash_of(text), at)
        if found is None or found[0].purpose not in ("verify-email", "change-email"):
            raise InvalidRequest.of(UNKNOWN)
        token, user = found
        effects: list[msgspec.Struct] = [audit.entry(context, "user.email_verified", "user", user.id)]
        if token.purpose == "change-email":
            moved = audit.entry(context, "user.changed", "user", user.id, fields=["email"])
            notice = self._messages.job("email-changed", user.email, user.id, new_email=token.email)
            effects += [moved, notice]
        removed = audit.entry(context, "user.setup_removed", "user", user.id)
        session_id = context.actor.session_id if isinstance(context.actor, Principal) else None
        confirmed = await self._tokens.confirm_email(
            token.token_hash, at, effects, spared_by=session_id, if_removed=[removed]
        )
        if confirmed is None:
            raise InvalidRequest.of(UNKNOWN)
        self._revocations.add(confirmed[1])
        self._revocations.account_changed(user.id)

    async def stop(self, context: Context, text: str) -> None:
        """Stop a pending change of address with the token from the link that its old address got.

        Raises:
            InvalidRequest: the token is unknown, used or expired, or the change has been confirmed or withdrawn.
        """
        at = clock.now()
        found = await self._tokens.find(hash_of(text), at)
        if found is None or found[0].purpose != "stop-email-change":
            raise InvalidRequest.of(UNKNOWN)
        token, user = found
        stopped = audit.entry(context, "user.email_change_stopped", "user", user.id)
        if await self._tokens.stop_change(token.token_hash, at, [stopped]) is None:
            raise InvalidRequest.of(UNKNOWN)


def _shown_origin(context: Context) -> Origin:
    """Return where a link is asked for, as its reader may know it: not where an administrator works."""
    is_admin = isinstance(context.actor, Principal) and context.actor.is_admin
    return Origin() if is_admin else context.origin
