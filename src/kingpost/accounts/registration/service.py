"""Sign-up: immediate, or confirmed by mail, so that no response reveals which addresses have accounts."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from kingpost import audit, clock
from kingpost.accounts.mail_requests.service import MailRequests
from kingpost.accounts.users.service import metadata_faults
from kingpost.accounts.users.store import UserStore
from kingpost.accounts.verification.service import Verification
from kingpost.auth.passwords.hashing import PasswordHasher, PasswordRules
from kingpost.emails import address, email_faults
from kingpost.jobs.runner import Handler
from kingpost.jobs.sealing import JobSealer
from kingpost.jobs.store import ClaimedJob, FinishJob, JobStore
from kingpost.model import DEFAULT_ROLES, Context, Origin, User
from kingpost.problems import Conflict, Fault, Forbidden, InvalidRequest
from kingpost.settings import SignUpMode
from kingpost.storage.effects import NO_EFFECTS

SIGN_UP = "user.sign-up"


class NewAccount(msgspec.Struct, frozen=True):
    """The values of a new account, not validated."""

    email: str
    password: str
    name: str | None = None
    metadata: dict[str, Any] = {}


class CheckedAccount(msgspec.Struct, frozen=True):
    """The validated values of a new account, with the password hashed, as they are stored in an enqueued sign-up."""

    email: str
    password_hash: str
    name: str | None
    metadata: dict[str, Any]


class SignUpRequest(msgspec.Struct, frozen=True):
    """The payload of an enqueued sign-up: the account, and the origin of the request."""

    account: CheckedAccount
    origin: Origin


class Registration:
    """Checks whether a caller may sign up, and creates accounts."""

    def __init__(
        self,
        users: UserStore,
        hasher: PasswordHasher,
        rules: PasswordRules,
        verification: Verification,
        jobs: JobStore,
        sealer: JobSealer,
        mail_requests: MailRequests,
        mode: SignUpMode,
    ) -> None:
        self._users = users
        self._hasher = hasher
        self._rules = rules
        self._verification = verification
        self._jobs = jobs
        self._sealer = sealer
        self._mail_requests = mail_requests
        self._mode = mode

    @property
    def needs_caller(self) -> bool:
        """Whether only administrators can create accounts."""
        return self._mode == "closed"

    async def sign_up(self, context: Context, new: NewAccount) -> User | None:
        """Create an account with the default roles, and return it.

        If addresses must be verified, an anonymous sign-up is enqueued and the result is None. Nothing is looked up
        before this returns, so that neither the result nor the time reveals whether the address has an account.
        Administrators always create accounts immediately.

        Raises:
            Forbidden: sign-up is closed and the caller is not an administrator.
            InvalidRequest: the address, the password or the metadata breaks a rule.
            Conflict: another account has the address.
            Unavailable: too many passwords are being hashed.
        """
        by_admin = context.actor is not None and context.caller.is_admin
        if self.needs_caller and not by_admin:
            raise Forbidden("Sign-up is closed: ask an administrator for an account")
        if self._mode == "open" or by_admin:
            return await self.create(context, new, DEFAULT_ROLES)
        account = await self._check(new)
        await self._jobs.add(self._sealer.seal(SIGN_UP, SignUpRequest(account, context.origin), None))
        return None

    async def create(
        self, context: Context, new: NewAccount, roles: tuple[str, ...], *, email_verified: bool = False
    ) -> User:
        """Create an account with any roles. The permission of the actor is not checked here.

        Raises:
            InvalidRequest, Conflict, Unavailable: as for `sign_up`.
        """
        return await self._store(context, await self._check(new), roles, email_verified=email_verified)

    def faults(self, new: NewAccount) -> Iterable[Fault]:
        """Yield the rules of address, password and metadata that a new account breaks."""
        yield from email_faults(new.email)
        yield from self.password_faults(new.password, new.email)
        yield from metadata_faults(new.metadata)

    def password_faults(self, password: str, email: str) -> Iterable[Fault]:
        """Yield the rules that a password breaks. `email` is the owner's address; pass "" if it is not known."""
        for code, detail in self._rules.faults(password, email):
            yield Fault(detail, code, pointer="/password")

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handlers of the jobs that are enqueued here, by kind."""
        return {SIGN_UP: self._create_enqueued}

    async def _check(self, new: NewAccount) -> CheckedAccount:
        """Validate the values and hash the password. This does not use the database."""
        faults = list(self.faults(new))
        if faults:
            raise InvalidRequest.of(*faults)
        return CheckedAccount(new.email, await self._hasher.hash(new.password), new.name, new.metadata)

    async def _store(
        self,
        context: Context,
        new: CheckedAccount,
        roles: tuple[str, ...],
        *,
        email_verified: bool = False,
        finish: FinishJob | None = None,
    ) -> User:
        """Store a new account, and send a link to verify its address, unless `email_verified` is set.

        Raises:
            Conflict: another account has the address.
            Superseded: another worker has claimed the job that this finishes.
        """
        email = address(new.email)
        user_id, now = clock.new_id()
        user = User(
            id=user_id,
            email=email.address,
            email_verified=email_verified,
            name=new.name,
            metadata=msgspec.Raw(msgspec.json.encode(new.metadata)),
            roles=roles,
            status="active",
            version=1,
            created_at=now,
            updated_at=now,
        )
        entry = audit.entry(context, "user.created", "user", user.id, roles=roles)
        link = NO_EFFECTS if email_verified else self._verification.request(context, user.id, email)
        finished = [] if finish is None else [finish]
        await self._users.create(user, email.key, new.password_hash, [entry, *link, *finished])
        return user

    async def _create_enqueued(self, claimed: ClaimedJob) -> None:
        request = self._sealer.open(claimed.job, SignUpRequest)
        context = Context(None, request.origin)
        try:
            await self._store(context, request.account, DEFAULT_ROLES, finish=claimed.finish)
        except Conflict:
            user = await self._users.find_by_email(address(request.account.email).key)
            if user is None:  # The account was deleted concurrently: the next attempt creates a new one.
                raise
            await self._mail_requests.send(context, "set-password", user, claimed.finish)
