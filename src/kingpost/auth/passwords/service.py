"""Changes of passwords."""

from kingpost import audit, clock
from kingpost.auth.passwords.hashing import PasswordHasher, PasswordRules
from kingpost.auth.passwords.proof import Reauthentication
from kingpost.auth.passwords.store import CredentialStore
from kingpost.auth.revocations.service import Revocations
from kingpost.mail import Messages
from kingpost.model import Context
from kingpost.problems import Fault, Forbidden, InvalidRequest, NotFound


class Passwords:
    """Changes the passwords of callers."""

    def __init__(
        self,
        credentials: CredentialStore,
        hasher: PasswordHasher,
        rules: PasswordRules,
        reauthentication: Reauthentication,
        revocations: Revocations,
        messages: Messages,
    ) -> None:
        self._credentials = credentials
        self._hasher = hasher
        self._rules = rules
        self._reauthentication = reauthentication
        self._revocations = revocations
        self._messages = messages

    async def change(self, context: Context, user_id: str, current: str, otp: str | None, new: str) -> None:
        """Set a new password, end all other sessions of the account, and notify its owner by mail.

        Raises:
            Forbidden: the account is not the caller's own; or the current password or the code is wrong, or has
                changed since it was checked.
            RateLimited: there were too many wrong passwords or codes.
            InvalidRequest: the new password breaks a rule, or the code is missing.
            Unauthenticated: the caller's session ended meanwhile.
            NotFound: no account has this id.
        """
        caller = context.caller
        user = await self._credentials.find(user_id)
        if user is None:
            raise NotFound()
        if not caller.may_manage(user_id):
            raise Forbidden()
        if caller.user_id != user_id:
            raise Forbidden("Only the owner of an account can change its password")
        if faults := [*self.faults(new, user.email), *await self._reauthentication.faults(context, otp)]:
            raise InvalidRequest.of(*faults)
        proof = await self._reauthentication.prove(context, current, otp)
        entry = audit.entry(context, "user.password_changed", "user", user_id)
        notice = self._messages.job("password-changed", user.email, user_id, api_keys="kept")
        password_hash = await self._hasher.hash(new, is_proven=True)
        ended = await self._credentials.change_password(
            user_id, password_hash, clock.now(), caller.own_session, [entry, notice, *proof]
        )
        self._revocations.add(ended)

    def faults(self, new: str, email: str) -> list[Fault]:
        """Return the rules that a new password breaks. `email` is the owner's address; pass "" if it is not known."""
        return [Fault(detail, code, pointer="/new_password") for code, detail in self._rules.faults(new, email)]
