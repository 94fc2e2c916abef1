"""Accounts: signing up, reading, changing, deleting."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec

from kingpost import audit, clock
from kingpost.audit import Actor
from kingpost.emails import InvalidEmail, address
from kingpost.model import DEFAULT_ROLES, Origin, Page, Principal, User
from kingpost.passwords import PasswordHasher, PasswordRules
from kingpost.policy import may_touch_account
from kingpost.problems import Fault, Forbidden, InvalidRequest, NotFound, Unavailable, VersionMismatch
from kingpost.revocations import Revocations
from kingpost.storage import UserChange, Users
from kingpost.storage.consequences import Consequences
from kingpost.storage.listing import Listing

METADATA_LIMIT = 4096
"""Bytes of JSON that an account's metadata may have."""
PATIENCE = 100
"""How often a patch is applied anew because another writer was faster."""


class NewAccount(msgspec.Struct, frozen=True):
    """What a sign-up tells."""

    email: str
    password: str
    name: str | None = None
    metadata: dict[str, Any] = {}


class AccountChange(msgspec.Struct, frozen=True):
    """What a caller wants changed; `UNSET` leaves a field. `current_password` proves who changes an address."""

    email: str | msgspec.UnsetType = msgspec.UNSET
    name: str | msgspec.UnsetType | None = msgspec.UNSET
    metadata: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    roles: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    status: Literal["active", "suspended"] | msgspec.UnsetType = msgspec.UNSET
    current_password: str | None = None


class Accounts:
    """What callers may do with accounts."""

    def __init__(
        self,
        users: Users,
        hasher: PasswordHasher,
        rules: PasswordRules,
        revocations: Revocations,
        *,
        signup_is_open: bool,
    ) -> None:
        self._users = users
        self._hasher = hasher
        self._rules = rules
        self._revocations = revocations
        self._signup_is_open = signup_is_open

    async def sign_up(self, principal: Principal | None, new: NewAccount, origin: Origin) -> User:
        """Create an account with the default roles.

        Raises:
            Forbidden: sign-up is closed and the caller is no administrator.
            InvalidRequest: the address or the password breaks a rule.
            Conflict: the address has an account.
        """
        if not self._signup_is_open and (principal is None or not principal.is_admin):
            raise Forbidden("Sign-up is closed: ask an administrator for an account")
        return await self.create(new, DEFAULT_ROLES, principal, origin)

    async def create(self, new: NewAccount, roles: tuple[str, ...], actor: Actor, origin: Origin) -> User:
        """Create an account with any roles, with no question of who asks. Raises as `sign_up` does."""
        faults = list(self.faults(new))
        if faults:
            raise InvalidRequest.of(*faults)
        email = address(new.email)
        password_hash = await self._hasher.hash(new.password)
        user_id, now = clock.new_id()
        user = User(
            id=user_id,
            email=email.address,
            email_verified=False,
            name=new.name,
            metadata=msgspec.Raw(msgspec.json.encode(new.metadata)),
            roles=roles,
            status="active",
            version=1,
            created_at=now,
            updated_at=now,
        )
        entry = audit.entry("user.created", "user", user.id, actor, origin, roles=roles)
        await self._users.create(user, email.key, password_hash, Consequences((entry,)))
        return user

    def faults(self, new: NewAccount) -> Iterable[Fault]:
        """The rules of address, password and metadata that a new account breaks."""
        yield from email_faults(new.email)
        for code, detail in self._rules.faults(new.password, new.email):
            yield Fault(detail, code, pointer="/password")
        yield from metadata_faults(new.metadata)

    async def read(self, principal: Principal, user_id: str) -> User:
        """One account.

        Raises:
            Forbidden: it is neither the caller's own nor is the caller an administrator.
            NotFound: there is none.
        """
        if not may_touch_account(principal, user_id):
            # Ids cannot be guessed, so a missing account may say so.
            raise NotFound() if await self._users.find(user_id) is None else Forbidden()
        user = await self._users.find(user_id)
        if user is None:
            raise NotFound()
        return user

    async def list(self, listing: Listing) -> Page[User]:
        """Accounts, a page at a time. For administrators: the route says so."""
        return await self._users.list(listing)

    async def replace(
        self,
        principal: Principal,
        user_id: str,
        change: AccountChange,
        versions: Sequence[int] | None,
        origin: Origin,
    ) -> User:
        """Change an account. `versions` are those that `If-Match` names; None means any.

        Raises:
            Forbidden: not the caller's own account, or roles or status by someone who is no administrator,
                or a wrong `current_password`.
            InvalidRequest: the new values break a rule, or `current_password` is missing for a new address.
            NotFound, VersionMismatch, Conflict: as for storage's `change`.
        """
        return await self._change(principal, await self.read(principal, user_id), change, versions, origin)

    async def patch(
        self,
        principal: Principal,
        user_id: str,
        patch: Callable[[User], AccountChange],
        versions: Sequence[int] | None,
        origin: Origin,
    ) -> User:
        """Change an account by what a pure function makes of it.

        What it makes of the version that was read is written only if that version still stands. If another
        writer was faster, the function is applied anew to what that one left, so neither is lost; with
        `versions`, that is a mismatch instead.

        Raises:
            Forbidden, InvalidRequest, NotFound, VersionMismatch, Conflict: as for `replace`.
            Unavailable: others were faster too many times.
        """
        user = await self.read(principal, user_id)
        if versions is not None and user.version not in versions:
            raise VersionMismatch(user)
        for _ in range(PATIENCE):
            try:
                return await self._change(principal, user, patch(user), (user.version,), origin)
            except VersionMismatch as mismatch:
                if versions is not None:
                    raise
                user = mismatch.current
        raise Unavailable("Too many writers change this account at the same time")

    async def _change(
        self,
        principal: Principal,
        user: User,
        change: AccountChange,
        versions: Sequence[int] | None,
        origin: Origin,
    ) -> User:
        decides_access = change.roles is not msgspec.UNSET or change.status is not msgspec.UNSET
        if decides_access and not principal.is_admin:
            raise Forbidden("Roles and status are set by administrators")
        needs_proof = principal.user_id == user.id and change.email not in (msgspec.UNSET, user.email)
        faults = list(_change_faults(user, change))
        if needs_proof and change.current_password is None:
            detail = "Changing your own e-mail address needs your current password"
            faults.append(Fault(detail, "required", pointer="/current_password"))
        if faults:
            raise InvalidRequest.of(*faults)
        if needs_proof and change.current_password is not None:
            await self._prove(user.id, change.current_password)
        new = UserChange(name=change.name, roles=change.roles, status=change.status)
        if change.metadata is not msgspec.UNSET:
            new = msgspec.structs.replace(new, metadata=msgspec.Raw(msgspec.json.encode(change.metadata)))
        if change.email is not msgspec.UNSET and change.email != user.email:
            email = address(change.email)
            new = msgspec.structs.replace(new, email=email.address, email_key=email.key)
        entry = audit.entry("user.changed", "user", user.id, principal, origin, **_told(change))
        changed, ended = await self._users.change(user.id, new, clock.now(), versions, Consequences((entry,)))
        self._revocations.add(ended)
        if change.roles is not msgspec.UNSET:
            self._revocations.set_roles(user.id, changed.roles)
        return changed

    async def change_password(self, principal: Principal, user_id: str, current: str, new: str, origin: Origin) -> None:
        """Set a new password and end all of the account's other sessions.

        Raises:
            Forbidden: it is another's account, or the current password is wrong.
            InvalidRequest: the new password breaks a rule.
            NotFound: there is no such account.
        """
        user = await self.read(principal, user_id)
        if principal.user_id != user_id:
            raise Forbidden("A password is changed by its own account only")
        faults = self._rules.faults(new, user.email)
        if faults:
            raise InvalidRequest.of(*[Fault(detail, code, pointer="/new_password") for code, detail in faults])
        await self._prove(user_id, current)
        entry = audit.entry("user.password_changed", "user", user_id, principal, origin)
        password_hash = await self._hasher.hash(new)
        ended = await self._users.change_password(
            user_id, password_hash, clock.now(), principal.own_session, Consequences((entry,))
        )
        self._revocations.add(ended)

    async def delete(self, principal: Principal, user_id: str, versions: Sequence[int] | None, origin: Origin) -> None:
        """Delete an account with all that it owns.

        Raises:
            Forbidden, NotFound: as for `read`.
            VersionMismatch, Conflict: as for storage's `delete`.
        """
        await self.read(principal, user_id)
        entry = audit.entry("user.deleted", "user", user_id, principal, origin)
        self._revocations.add(await self._users.delete(user_id, versions, Consequences((entry,))))

    async def _prove(self, user_id: str, password: str) -> None:
        if not await self._hasher.verify(await self._users.find_password_hash(user_id), password):
            raise Forbidden("The current password is wrong")


def _told(change: AccountChange) -> dict[str, Any]:
    """What the audit log tells of a change: which fields, and of those that decide access what they became."""
    fields = [name for name in ("email", "name", "metadata") if getattr(change, name) is not msgspec.UNSET]
    decided = {name: getattr(change, name) for name in ("roles", "status")}
    return {"fields": fields, **{name: value for name, value in decided.items() if value is not msgspec.UNSET}}


def _change_faults(user: User, change: AccountChange) -> Iterable[Fault]:
    """The rules of address and metadata that a change of an account breaks."""
    if change.email is not msgspec.UNSET and change.email != user.email:
        yield from email_faults(change.email)
    if change.metadata is not msgspec.UNSET:
        yield from metadata_faults(change.metadata)


def metadata_faults(metadata: dict[str, Any]) -> Sequence[Fault]:
    """What is wrong with the member `metadata` of a body."""
    if len(msgspec.json.encode(metadata)) > METADATA_LIMIT:
        return [Fault(f"Metadata has at most {METADATA_LIMIT} bytes of JSON", "too_long", pointer="/metadata")]
    return []


def email_faults(email: str) -> Sequence[Fault]:
    """What is wrong with an address in the member `email` of a body."""
    try:
        address(email)
    except InvalidEmail as error:
        return [Fault(error.detail, error.code, pointer="/email")]
    return []
