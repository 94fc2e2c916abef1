"""Password reset with the token from a link."""

from kingpost import audit, clock
from kingpost.accounts.one_time_tokens.store import OneTimeTokenStore
from kingpost.accounts.one_time_tokens.tokens import UNKNOWN, hash_of
from kingpost.auth.passwords.hashing import PasswordHasher, PasswordRules
from kingpost.auth.revocations.service import Revocations
from kingpost.auth.revocations.store import end_of_api_keys
from kingpost.auth.throttling.service import Throttle
from kingpost.mail import Messages
from kingpost.model import Context
from kingpost.problems import Fault, InvalidRequest


class Recovery:
    """Resets the password of an account for a person with access to its mailbox."""

    def __init__(
        self,
        tokens: OneTimeTokenStore,
        messages: Messages,
        hasher: PasswordHasher,
        rules: PasswordRules,
        throttle: Throttle,
        revocations: Revocations,
    ) -> None:
        self._tokens = tokens
        self._messages = messages
        self._hasher = hasher
        self._rules = rules
        self._throttle = throttle
        self._revocations = revocations

    async def reset(self, context: Context, text: str, new_password: str, *, keep_api_keys: bool) -> None:
        """Set a new password with the token from a link, and end all sessions and API keys of the account.

        With `keep_api_keys`, only the API keys end that the owner of the mailbox may not have created.

        If this is the first proof of the address, what was set up before it is removed, too.

        Raises:
            InvalidRequest: the token is unknown, used or expired, or the password breaks a rule. An invalid password
                does not use up the token.
        """
        at = clock.now()
        found = await self._tokens.find(hash_of(text), at)
        if found is not None and found[0].purpose != "reset-password":
            found = None
        faults = [] if found else [UNKNOWN]
        faults += self.faults(new_password, found[1].email if found else "")
        if found is None or faults:
            raise InvalidRequest.of(*faults)
        token, user = found
        entry = audit.entry(context, "user.password_reset", "user", user.id)
        # The first proof of an address removes the keys in any case.
        api_keys = "kept" if keep_api_keys and user.email_verified else "revoked"
        notice = self._messages.job("password-changed", user.email, user.id, api_keys=api_keys)
        effects = [entry, notice, *([] if keep_api_keys else end_of_api_keys(context, user.id))]
        password_hash = await self._hasher.hash(new_password, is_proven=True)
        removed = audit.entry(context, "user.setup_removed", "user", user.id)
        reset = await self._tokens.reset_password(token.token_hash, password_hash, at, effects, if_removed=[removed])
        if reset is None:
            raise InvalidRequest.of(UNKNOWN)
        self._revocations.add(reset[1])
        self._revocations.account_changed(user.id)
        await self._throttle.forget(token.email_key, context.origin.address)

    def faults(self, new: str, email: str) -> list[Fault]:
        """Return the rules that a new password breaks. `email` is the owner's address; pass "" if it is not known."""
        return [Fault(detail, code, pointer="/new_password") for code, detail in self._rules.faults(new, email)]
