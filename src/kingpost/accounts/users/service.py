"""Reading, changing and deleting accounts."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec

from kingpost import audit, clock
from kingpost.accounts.users.store import UserChange, UserStore
from kingpost.accounts.verification.service import Verification
from kingpost.auth.passwords.proof import Reauthentication
from kingpost.auth.revocations.service import Revocations
from kingpost.auth.throttling.service import Throttle
from kingpost.emails import address, email_faults
from kingpost.model import Context, Page, Principal, User
from kingpost.problems import Fault, Forbidden, InvalidRequest, NotFound, Unavailable, VersionMismatch
from kingpost.storage.effects import NO_EFFECTS, Effects
from kingpost.storage.listing import Listing

METADATA_LIMIT = 4096
"""Maximum size of an account's metadata, in bytes of JSON."""
MAX_ATTEMPTS = 100
"""How often a patch is applied to a newer version after a concurrent write."""


class AccountChange(msgspec.Struct, frozen=True):
    """New values of fields; `UNSET` keeps a field. `current_password` proves that the owner changes the address."""

    email: str | msgspec.UnsetType = msgspec.UNSET
    name: str | msgspec.UnsetType | None = msgspec.UNSET
    metadata: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    roles: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    status: Literal["active", "suspended"] | msgspec.UnsetType = msgspec.UNSET
    current_password: str | None = None


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
        user = await self._users.find(user_id)
        if user is None:
            raise NotFound()
        return user

    async def list(self, listing: Listing) -> Page[User]:
        """Return one page of accounts. The route allows only administrators."""
        return await self._users.list(listing)

    async def replace(
        self, context: Context, user_id: str, change: AccountChange, versions: Sequence[int] | None
    ) -> User:
        """Change an account. `versions` are those that `If-Match` names; None allows any.

        If addresses must be verified, a new address from the account's owner is not stored yet. A link is sent to
        it, and the account gets the address when the link is used.

        Raises:
            Forbidden: the account is not the caller's own; roles or status are set by a caller who is not an
                administrator; the caller is an API key without the scope; or `current_password` is wrong.
            RateLimited: `current_password` was wrong too many times.
            InvalidRequest: a new value breaks a rule, or `current_password` is missing for a new address.
            NotFound, VersionMismatch, Conflict: as for `UserStore.change`.
        """
        return await self._change(context, await self._find_to_write(context.caller, user_id), change, versions)

    async def patch(
        self,
        context: Context,
        user_id: str,
        patch: Callable[[User], AccountChange],
        versions: Sequence[int] | None,
    ) -> User:
        """Change an account with a pure function from the account to its change.

        The change is written only if the account still has the version that the function was applied to. After a
        concurrent write the function is applied to the new version, so that neither write is lost. With `versions`,
        a concurrent write raises `VersionMismatch` instead.

        Raises:
            Forbidden, InvalidRequest, NotFound, VersionMismatch, Conflict: as for `replace`.
            Unavailable: `MAX_ATTEMPTS` concurrent writes came first.
        """
        user = await self._find_to_write(context.caller, user_id)
        if versions is not None and user.version not in versions:
            raise VersionMismatch(user)
        for _ in range(MAX_ATTEMPTS):
            try:
                return await self._change(context, user, patch(user), (user.version,))
            except VersionMismatch as mismatch:
                if versions is not None:
                    raise
                user = mismatch.current
        raise Unavailable("Too many concurrent changes of this account")

    async def _find_to_write(self, principal: Principal, user_id: str) -> User:
        """Return an account that the caller wants to write.

        Raises:
            Forbidden, NotFound: as for `read`; or another account is written by an API key without the scope.
        """
        user = await self.read(principal, user_id)
        if principal.user_id != user_id:
            principal.require_scope("users:admin")
        return user

    async def _change(
        self, context: Context, user: User, change: AccountChange, versions: Sequence[int] | None
    ) -> User:
        principal = context.caller
        changes_access = change.roles is not msgspec.UNSET or change.status is not msgspec.UNSET
        if changes_access and not principal.is_admin:
            raise Forbidden("Only administrators can change roles and status")
        _check_key(principal, user, change)
        needs_proof = principal.user_id == user.id and change.email not in (msgspec.UNSET, user.email)
        faults = list(_change_faults(user, change))
        if needs_proof and change.current_password is None:
            detail = "Changing your own e-mail address requires your current password"
            faults.append(Fault(detail, "required", pointer="/current_password"))
        if faults:
            raise InvalidRequest.of(*faults)
        if needs_proof and change.current_password is not None:
            await self._reauthentication.prove(context, change.current_password)
            await self._throttle.count_mail(user.id)
        new, effects = self._address_change(context, user, change)
        new = msgspec.structs.replace(new, name=change.name, roles=change.roles, status=change.status)
        if change.metadata is not msgspec.UNSET:
            new = msgspec.structs.replace(new, metadata=msgspec.Raw(msgspec.json.encode(change.metadata)))
        waits = change.email not in (msgspec.UNSET, user.email) and new.email is msgspec.UNSET
        entry = audit.entry(context, "user.changed", "user", user.id, **_details(new, email_waits=waits))
        changed, ended = await self._users.change(user.id, new, clock.now(), versions, [entry, *effects])
        self._revocations.add(ended)
        self._revocations.account_changed(user.id)
        if change.roles is not msgspec.UNSET:
            self._revocations.set_roles(user.id, changed.roles)
        return changed

    def _address_change(self, context: Context, user: User, change: AccountChange) -> tuple[UserChange, Effects]:
        """Return the immediate change of the account, and the effects of a new address."""
        if change.email is msgspec.UNSET or change.email == user.email:
            return UserChange(), NO_EFFECTS
        email = address(change.email)
        if self._verification.waits_for(context.caller, user):
            return UserChange(), self._verification.ask(context, user, email)
        change_at_once = UserChange(email=email.address, email_key=email.key, email_verified=False)
        return change_at_once, self._verification.move(context, user, email)

    async def delete(self, context: Context, user_id: str, versions: Sequence[int] | None) -> None:
        """Delete an account and everything it owns.

        Raises:
            Forbidden, NotFound: as for `read`; or the caller is an API key of this account, or one without the scope.
            VersionMismatch, Conflict: as for `UserStore.delete`.
        """
        context.caller.refuse_own_key(user_id, "No API key can delete the account of its owner")
        await self._find_to_write(context.caller, user_id)
        entry = audit.entry(context, "user.deleted", "user", user_id)
        self._revocations.add(await self._users.delete(user_id, versions, [entry]))
        self._revocations.account_changed(user_id)


def _check_key(principal: Principal, user: User, change: AccountChange) -> None:
    """Check that the caller, if it is an API key, may make this change.

    Raises:
        Forbidden: it may not.
    """
    if change.roles is not msgspec.UNSET or change.status is not msgspec.UNSET:
        principal.require_scope("users:admin")
    if principal.user_id != user.id:
        return
    if change.email not in (msgspec.UNSET, user.email):
        principal.refuse_own_key(user.id, "No API key can change the e-mail address of its owner")
    if change.name is not msgspec.UNSET or change.metadata is not msgspec.UNSET:
        principal.require_scope("users:write")


def _details(change: UserChange, *, email_waits: bool) -> dict[str, Any]:
    """Return the details of an audit entry: the names of the changed fields, and the new roles and status."""
    fields = [name for name in ("email", "name", "metadata") if getattr(change, name) is not msgspec.UNSET]
    access = {name: getattr(change, name) for name in ("roles", "status")}
    details: dict[str, Any] = {name: value for name, value in access.items() if value is not msgspec.UNSET}
    if email_waits:
        details["asked_for"] = ["email"]
    return {"fields": fields, **details}


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
