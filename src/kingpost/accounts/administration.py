"""What the operator may do with accounts at the command line: everything, by the same rules, and on record."""

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
    """Accounts as their operator handles them. Servers that run hear of it as they hear of each other."""

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

    async def find(self, who: str) -> User:
        """The account with this id or e-mail address.

        Raises:
            NotFound: there is none.
        """
        by_id = ID.fullmatch(who.lower()) is not None
        user = await (self._users.find(who.lower()) if by_id else self._find_by_email(who))
        if user is None:
            raise NotFound("No account has this id or e-mail address")
        return user

    async def list(self, listing: Listing, status: Status | None, role: str | None) -> Page[User]:
        """Accounts, a page at a time: all, or those with a status or a role."""
        return await self._users.list(listing, status=status, role=role)

    async def create(self, new: NewAccount, roles: tuple[str, ...]) -> User:
        """Create an account, for whose address the operator vouches. Raises as `Accounts.create` does."""
        return await self._registration.create(OPERATOR, new, roles, email_verified=True)

    async def set_roles(self, user: User, roles: tuple[str, ...]) -> User:
        """Give an account these roles and no others.

        Raises:
            NotFound: it is gone.
            Conflict: no active administrator would be left.
        """
        return await self._change(user, UserChange(roles=roles), roles=roles)

    async def set_status(self, user: User, status: Status) -> User:
        """Suspend an account, which ends its sessions, or let it in again. Raises as `set_roles` does."""
        return await self._change(user, UserChange(status=status), status=status)

    async def set_password(self, user: User, password: str) -> int:
        """Give an account another password and tell its owner; return how many sessions this ended: all.

        Raises:
            InvalidRequest: the password breaks a rule.
            NotFound: the account is gone.
        """
        faults = self._rules.faults(password, user.email)
        if faults:
            raise InvalidRequest.of(*[Fault(detail, code, pointer="/password") for code, detail in faults])
        password_hash = await self._hasher.hash(password)
        notice = self._messages.job("password-changed", user.email, user.id)
        effects = [_entry("user.password_changed", user), notice]
        ended = await self._credentials.change_password(user.id, password_hash, clock.now(), None, effects)
        return len(ended)

    async def end_sessions(self, user: User) -> int:
        """End all sessions of an account; return how many there were."""
        entry = _entry("session.ended", user, sessions="all")
        return len(await self._sessions.end_all(user.id, effects=[entry]))

    async def delete(self, user: User) -> None:
        """Delete an account with all that it owns.

        Raises:
            NotFound: it is gone already.
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
