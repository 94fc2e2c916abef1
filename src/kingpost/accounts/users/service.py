"""Reading, changing and deleting accounts."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec
from msgspec import json

from kingpost import audit, clock
from kingpost.accounts.users.store import UserChange, UserStore
from kingpost.accounts.verification.service import Verification
from kingpost.auth.passwords.proof import Reauthentication
from kingpost.auth.revocations.service import Revocations
from kingpost.auth.throttling.service import Throttle
from kingpost.emails import InvalidEmail, address, email_faults
from kingpost.jsontools.strict import decode_stored
from kingpost.model import AuditEntry, Context, Page, Principal, User
from kingpost.problems import Fault, Forbidden, InvalidRequest, NotFound, Unavailable, VersionMismatch
from kingpost.storage.effects import NO_EFFECTS, Effects
from kingpost.storage.listing import Listing

METADATA_LIMIT = 4096
"""Maximum size of an account's metadata, in bytes of JSON."""
MAX_ATTEMPTS = 100
"""How often a patch is applied to a newer version after a concurrent write."""


type Proof = list[msgspec.Struct]
"""The effects of a proof of ownership; empty until there is one."""


class AccountChange(msgspec.Struct, frozen=True):
    """New values of fields; `UNSET` keeps a field. `current_password` and `otp` prove ownership for a new address."""

    email: str | msgspec.UnsetType = msgspec.UNSET
    name: str | msgspec.UnsetType | None = msgspec.UNSET
    metadata: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    roles: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    status: Literal["active", "suspended"] | msgspec.UnsetType = msgspec.UNSET
    current_password: str | None = None
    otp: str | None = None


class Users:
    """Reads, changes and deletes accounts on behalf of callers."""

    def __init__(
        self,
        users: UserStore,
        revocations: Revocations,
        reauthentication: Reauthentication,
        throttle: Throttle,
        verification: Verification,
    ) -> None:
        self._users = users
        self._revocations = revocations
        self._reauthentication = reauthentication
        self._throttle = throttle
        self._verification = verification

    async def read(self, principal: Principal, user_id: str) -> User:
        """Return an account.

        Raises:
            Forbidden: the account is not the caller's own, and the caller is not an administrator.
            NotFound: no account has this id.
        """
        if not principal.may_manage(user_id):
            # Ids cannot be guessed, so telling 404 from 403 reveals nothing.
            raise NotFound() if await self._users.find(user_id) is None else Forbidden()
        user, now = await self._users.find(user_id), clock.now()
        # The expiry of a pending address changes the version, so it is stored before the account is returned.
        if user is not None and user.has_expired_change(now):
            user = await self._users.end_expired_change(user_id, now)
        if user is None:
            raise NotFound()
        return user

    async def end_expired_changes(self, at: str) -> None:
        """End all pending changes of addresses that have expired at a time."""
        for user_id in await self._users.with_expired_changes(at):
            await self._users.end_expired_change(user_id, at)

    async def find_to_write(self, principal: Principal, user_id: str) -> User:
        """Return an account that the caller wants to write.

        Raises:
            Forbidden, NotFound: as for `read`; or another account is written by an API key without the scope.
        """
        user = await self.read(principal, user_id)
        if principal.user_id != user_id:
            principal.require_scope("users:admin")
        return user

    async def find_to_delete(self, principal: Principal, user_id: str) -> User:
        """Return an account that the caller wants to delete.

        Raises:
            Forbidden, NotFound: as for `find_to_write`; or the caller is an API key of this account.
        """
        principal.refuse_own_key(user_id, "No API key can delete the account of its owner")
        return await self.find_to_write(principal, user_id)

    async def list(self, listing: Listing) -> Page[User]:
        """Return one page of accounts. The route allows only administrators."""
        return await self._users.list(listing)

    async def replace(
        self, context: Context, user: User, change: AccountChange, versions: tuple[int, ...] | None
    ) -> User:
        """Change an account, which `find_to_write` has returned to the caller.

        `versions` are those that may be changed; None allows any.

        If addresses must be verified, a new address from the account's owner is pending at first. A link is sent to
        it, and the account gets the address when the link is used. Naming the present address, in any spelling,
        withdraws a pending one. A change that changes nothing is not written.

        Raises:
            Forbidden: roles or status are set by a caller who is not an administrator; the caller is an API key without
                the scope; or `current_password` or `otp` is wrong, or has changed since it was checked.
            RateLimited: there were too many wrong passwords or codes, or too many new addresses.
            InvalidRequest: a new value breaks a rule, or `current_password` or `otp` is missing for a new address.
            Unauthenticated: the session ended after the proof of a new address.
            NotFound, VersionMismatch, Conflict: as for `UserStore.change`.
        """
        return await self._change(context, user, change, versions, [])

    async def patch(
        self,
        context: Context,
        user: User,
        patch: Callable[[User], AccountChange],
        versions: tuple[int, ...] | None,
    ) -> User:
        """Change an account, which `find_to_write` has returned to the caller, with a pure function to its change.

        The change is written only if the account still has the version that the function was applied to. After a
        concurrent write the function is applied to the new version, so that neither write is lost. With `versions`,
        a concurrent write raises `VersionMismatch` instead.

        Raises:
            Forbidden, InvalidRequest, NotFound, VersionMismatch, Conflict: as for `replace`.
            Unavailable: `MAX_ATTEMPTS` concurrent writes came first.
        """
        proof: Proof = []
        for _ in range(MAX_ATTEMPTS):
            try:
                return await self._change(context, user, patch(user), (user.version,), proof)
            except VersionMismatch as mismatch:
                if versions is not None:
                    raise
                user = mismatch.current
        raise Unavailable("Too many concurrent changes of this account")

    async def _change(
        self,
        context: Context,
        user: User,
        change: AccountChange,
        versions: tuple[int, ...] | None,
        proof: Proof,
    ) -> User:
        """Check and write a change. `proof` keeps the proof of a new address for another attempt: a code works once."""
        principal = context.caller
        changes_access = change.roles is not msgspec.UNSET or change.status is not msgspec.UNSET
        if changes_access and not principal.is_admin:
            raise Forbidden("Only administrators can change roles and status")
        _check_key(principal, user, change)
        is_new_address = _is_new_address(user, change)
        needs_proof = principal.user_id == user.id and is_new_address
        faults = list(_change_faults(user, change))
        if needs_proof and change.current_password is None:
            detail = "Changing your own e-mail address requires your current password"
            faults.append(Fault(detail, "required", pointer="/current_password"))
        if needs_proof and not proof:
            faults += await self._reauthentication.faults(context, change.otp)
        if faults:
            raise InvalidRequest.of(*faults)
        if _changes_nothing(user, change):
            if versions is not None and user.version not in versions:
                raise VersionMismatch(user)
            return user
        if needs_proof and not proof:
            proof += await self._reauthentication.prove(context, change.current_password or "", change.otp)
            await self._throttle.count_mail(user.id)
        new, effects = self._address_change(context, user, change)
        new = msgspec.structs.replace(new, name=change.name, roles=change.roles, status=change.status)
        if change.metadata is not msgspec.UNSET:
            new = msgspec.structs.replace(new, metadata=msgspec.Raw(msgspec.json.encode(change.metadata)))
        effects = [*_entries(context, user, new), *effects, *(proof if needs_proof else ())]
        by_admin = principal.user_id if changes_access or principal.user_id != user.id else None
        changed, ended = await self._users.change(user.id, new, clock.now(), versions, effects, by_admin=by_admin)
        self._revocations.add(ended)
        self._revocations.account_changed(user.id)
        if change.roles is not msgspec.UNSET:
            self._revocations.set_roles(user.id, changed.roles)
        return changed

    def _address_change(self, context: Context, user: User, change: AccountChange) -> tuple[UserChange, Effects]:
        """Return the immediate change of the account, and the effects of a new address."""
        if change.email is msgspec.UNSET:
            return UserChange(), NO_EFFECTS
        if not _is_new_address(user, change):
            withdrawn = UserChange(pending_email=None, pending_email_expires_at=None)
            return UserChange() if user.pending_email is None else withdrawn, NO_EFFECTS
        email = address(change.email)
        if self._verification.waits_for(context.caller, user):
            expires_at, effects = self._verification.ask(context, user, email)
            return UserChange(pending_email=email.address, pending_email_expires_at=expires_at), effects
        change_at_once = UserChange(email=email.address, email_key=email.key, email_verified=False)
        return change_at_once, self._verification.move(context, user, email)

    async def delete(self, context: Context, user: User, versions: tuple[int, ...] | None) -> None:
        """Delete an account, which `find_to_delete` has returned to the caller, and everything it owns.

        Raises:
            NotFound, VersionMismatch, Conflict: as for `UserStore.delete`.
        """
        entry = audit.entry(context, "user.deleted", "user", user.id)
        self._revocations.add(await self._users.delete(user.id, versions, [entry]))
        self._revocations.account_changed(user.id)


def _check_key(principal: Principal, user: User, change: AccountChange) -> None:
    """Check that the caller, if it is an API key, may make this change.

    Raises:
        Forbidden: it may not.
    """
    if change.roles is not msgspec.UNSET or change.status is not msgspec.UNSET:
        principal.require_scope("users:admin")
    if principal.user_id != user.id:
        return
    if change.status == "suspended":
        principal.refuse_own_key(user.id, "No API key can suspend its owner")
    if _is_new_address(user, change) or (change.email is not msgspec.UNSET and user.pending_email is not None):
        principal.refuse_own_key(user.id, "No API key can change the e-mail address of its owner")
    if change.name is not msgspec.UNSET or change.metadata is not msgspec.UNSET:
        principal.require_scope("users:write")


def _entries(context: Context, user: User, change: UserChange) -> Iterable[AuditEntry]:
    """Yield the audit entries of a change: of the account, and of a pending address."""
    fields = [name for name in ("email", "name", "metadata") if getattr(change, name) is not msgspec.UNSET]
    access = {name: getattr(change, name) for name in ("roles", "status")}
    details = {name: value for name, value in access.items() if value is not msgspec.UNSET}
    if fields or details:
        yield audit.entry(context, "user.changed", "user", user.id, fields=fields, **details)
    if change.pending_email is None:
        yield audit.entry(context, "user.email_change_withdrawn", "user", user.id)
    elif change.pending_email is not msgspec.UNSET:
        yield audit.entry(context, "user.email_change_requested", "user", user.id)


def _is_new_address(user: User, change: AccountChange) -> bool:
    """Return whether a change names another address. Other spellings of the present one do not count."""
    if change.email in (msgspec.UNSET, user.email):
        return False
    try:
        return address(change.email).key != address(user.email).key
    except InvalidEmail:
        return True


def _changes_nothing(user: User, change: AccountChange) -> bool:
    """Return whether an account is already as a change would leave it."""
    keeps_address = change.email is msgspec.UNSET or (user.pending_email is None and not _is_new_address(user, change))
    present = {"name": user.name, "roles": user.roles, "status": user.status}
    return (
        keeps_address
        and all(getattr(change, name) in (msgspec.UNSET, value) for name, value in present.items())
        and (change.metadata is msgspec.UNSET or _is_same(change.metadata, user.metadata))
    )


def _is_same(document: Any, stored: msgspec.Raw) -> bool:
    # As JSON, because Python takes 1, 1.0 and true for equal, and objects in any order.
    return json.encode(document) == json.encode(decode_stored(bytes(stored)))


def _change_faults(user: User, change: AccountChange) -> Iterable[Fault]:
    """Yield the rules of address and metadata that a change of an account breaks."""
    if change.email is not msgspec.UNSET and change.email != user.email:
        yield from email_faults(change.email)
    if change.metadata is not msgspec.UNSET:
        yield from metadata_faults(change.metadata)


def metadata_faults(metadata: dict[str, Any]) -> Sequence[Fault]:
    """Return the faults of the field `metadata`."""
    if len(msgspec.json.encode(metadata)) > METADATA_LIMIT:
        detail = f"`metadata` must have at most {METADATA_LIMIT} bytes as JSON"
        return [Fault(detail, "too_long", pointer="/metadata")]
    return []
