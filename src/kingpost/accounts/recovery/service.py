"""Getting back in without the password: a link in mail allows a new one."""

from collections.abc import Mapping

from kingpost import audit, clock
from kingpost.accounts.mail_requests import RequestedMail
from kingpost.accounts.one_time_tokens.tokens import UNKNOWN, hash_of
from kingpost.auth.passwords.hashing import PasswordHasher, PasswordRules
from kingpost.auth.revocations.service import Revocations
from kingpost.guessing import Guessing
from kingpost.jobs.runner import Handler
from kingpost.mail import Messages
from kingpost.model import Origin
from kingpost.problems import Fault, InvalidRequest
from kingpost.storage.consequences import Consequences
from kingpost.storage.jobs import ClaimedJob
from kingpost.storage.one_time_tokens import OneTimeTokens

FORGOT = "password.forgot"


class Recovery:
    """Lets whoever reads an account's mail choose a new password."""

    def __init__(
        self,
        tokens: OneTimeTokens,
        mail: RequestedMail,
        messages: Messages,
        hasher: PasswordHasher,
        rules: PasswordRules,
        guessing: Guessing,
        revocations: Revocations,
    ) -> None:
        self._tokens = tokens
        self._mail = mail
        self._messages = messages
        self._hasher = hasher
        self._rules = rules
        self._guessing = guessing
        self._revocations = revocations

    async def forgot(self, email: str, origin: Origin) -> None:
        """Have a link sent to whatever account has this address.

        Nothing is looked up before this returns, so that neither result nor time tells whether there is one.

        Raises:
            InvalidRequest: it is no address, whoever might have it.
        """
        await self._mail.ask(FORGOT, email, origin)

    async def reset(self, text: str, new_password: str, origin: Origin) -> None:
        """Set a new password with the token of a link, and end all sessions of the account.

        Raises:
            InvalidRequest: the token is not good (any more), or the password breaks a rule; then the token stays
                good.
        """
        at = clock.now()
        found = await self._tokens.find(hash_of(text), at)
        if found is not None and found[0].purpose != "reset-password":
            found = None
        faults = [] if found else [UNKNOWN]
        for code, detail in self._rules.faults(new_password, found[1].email if found else ""):
            faults.append(Fault(detail, code, pointer="/new_password"))
        if found is None or faults:
            raise InvalidRequest.of(*faults)
        token, user = found
        entry = audit.entry("user.password_reset", "user", user.id, None, origin)
        notice = self._messages.job("password-changed", user.email, user.id)
        password_hash = await self._hasher.hash(new_password)
        reset = await self._tokens.reset_password(
            token.token_hash, password_hash, at, Consequences((entry,), (notice,))
        )
        if reset is None:
            raise InvalidRequest.of(UNKNOWN)
        self._revocations.add(reset[1])
        self._revocations.account_changed(user.id)
        await self._guessing.forget(token.email_key, origin.address)

    def handlers(self) -> Mapping[str, Handler]:
        """What does the jobs that are stored here, by kind."""
        return {FORGOT: self._send}

    async def _send(self, claimed: ClaimedJob) -> None:
        asked = await self._mail.asked_for(claimed)
        if asked is not None:
            await self._mail.send("reset-password", *asked, claimed.claim)
