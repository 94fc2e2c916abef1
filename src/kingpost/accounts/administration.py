"""Administration of accounts by the operator at the command line. All actions are recorded in the audit log."""

import re
from typing import Any

from kingpost import audit, clock
from kingpost.accounts.registration.service import NewAccount, Registration
from kingpost.accounts.users.store import UserChange, UserStore
from kingpost.audit.entries import Action
from kingpost.auth.passwords.hashing import PasswordHasher, PasswordRules
from kingpost.auth.passwords.store import CredentialStore
from kingpost.auth.sessions.store import SessionStore
from kingpost.emails import InvalidEmail, address
from kingpost.mail import Messages
from kingpost.model import OPERATOR, AuditEntry, Page, Status, User
from kingpost.problems import Fault, InvalidRequest, NotFound
from kingpost.storage.listing import Listing

ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Administration:
    """Operations of the operator on accounts. Running servers learn of changes by polling, as from another node."""

    def __init__(
        self,
        users: UserStore,
        credentials: CredentialStore,
        sessions: SessionStore,
        registration: Registration,
        hasher: PasswordHasher,
        rules: PasswordRules,
        messages: Messages,
    ) -> None:
        self._users = users
        self._credentials = credentials
        self._sessions = sessions
        self._registration = registration
        self._hasher = hasher
        self._rules = rules
        self._messages = messages

    async def find(self, id_or_email: str) -> User:
        """Return the account with this id or e-mail address.

        Raises:
            NotFound: no account has it.
        """
        is_id = ID.fullmatch(id_or_email.lower()) is not None
        user = await (self._users.find(id_or_email.lower()) if is_id else self._find_by_email(id_or_email))
        if user is None:
            raise NotFound("No account has this id or e-mail address")
        return user

    async def list(self, listing: Listing, status: Status | None, role: str | None) -> Page[User]:
        """Return one page of accounts: all, or those with a status or a role."""
        return await self._users.list(listing, status=status, role=role)

    async def create(self, email: str, password: str, roles: tuple[str, ...]) -> User:
        """Create an account with a verified address: the operator vouches for it.

        Raises:
            InvalidRequest: the address or the password breaks a rule.
            Conflict: the address belongs to an account.
            Unavailable: too many passwords are being hashed.
        """
        return await self._registration.create(OPERATOR, NewAccount(email, password), roles, email_verified=True)

    async def set_roles(self, user: User, roles: tuple[str, ...]) -> User:
        """Replace the roles of an account.

        Raises:
            NotFound: the account is gone.
            Conflict: no active administrator would be left.
        """
        return await self._change(user, UserChange(roles=roles), roles=roles)

    async def set_status(self, user: User, status: Status) -> User:
        """Suspend an account, which ends its sessions, or activate it again.

        Raises:
            NotFound, Conflict: as for `set_roles`.
        """
        return await self._change(user, UserChange(status=status), status=status)

    async def set_password(self, user: User, password: str) -> int:
        """Set the password of an account, end all its sessions, and notify its owner; return the number of sessions.

        Raises:
            InvalidRequest: the password breaks a rule.
            NotFound: the account is gone.
        """
        faults = self._rules.faults(password, user.email)
        if faults:
            raise InvalidRequest.of(*[Fault(detail, code, pointer="/password") for code, detail in faults])
        password_hash = await self._hasher.hash(password)
        notice = self._messages.job("password-changed", user.email, user.id, api_keys="kept")
        effects = [_entry("user.password_changed", user), notice]
        ended = await self._credentials.change_password(user.id, password_hash, clock.now(), None, effects)
        return len(ended)

    async def end_sessions(self, user: User) -> int:
        """End all sessions of an account, and return their number."""
        entry = _entry("session.ended", user, sessions="all")
        return len(await self._sessions.end_all(user.id, effects=[entry]))

    async def delete(self, user: User) -> None:
        """Delete an account and everything it owns.

        Raises:
            NotFound: the account is gone already.
            Conflict: no active administrator would be left.
        """
        await self._users.delete(user.id, None, [_entry("user.deleted", user)])

    async def _find_by_email(self, email: str) -> User | None:
        try:
            return await self._users.find_by_email(address(email).key)
        except InvalidEmail:
            return None

    async def _change(self, user: User, change: UserChange, **details: Any) -> User:
        entry = _entry("user.changed", user, fields=[], **details)
        changed, _ = await self._users.change(user.id, change, clock.now(), None, [entry])
        return changed


def _entry(action: Action, user: User, **details: Any) -> AuditEntry:
    return audit.entry(OPERATOR, action, "user", user.id, **details)
