"""Signing up: at once, or by way of the mailbox so that nobody learns which addresses have accounts."""

from collections.abc import Mapping

import msgspec

from kingpost.accounts.mail_requests import RequestedMail
from kingpost.accounts.users.service import Accounts, CheckedAccount, NewAccount
from kingpost.emails import address
from kingpost.jobs.runner import Handler
from kingpost.jobs.sealing import JobSealer
from kingpost.model import DEFAULT_ROLES, Origin, Principal, User
from kingpost.problems import Conflict, Forbidden
from kingpost.settings import SignUpMode
from kingpost.storage import Users
from kingpost.storage.jobs import ClaimedJob, Jobs

SIGN_UP = "user.sign-up"


class SignUpRequest(msgspec.Struct, frozen=True):
    """An account that somebody wants, and from where."""

    account: CheckedAccount
    origin: Origin


class Registration:
    """Decides who may sign up, and how."""

    def __init__(
        self, accounts: Accounts, users: Users, jobs: Jobs, sealer: JobSealer, mail: RequestedMail, mode: SignUpMode
    ) -> None:
        self._accounts = accounts
        self._users = users
        self._jobs = jobs
        self._sealer = sealer
        self._mail = mail
        self._mode = mode

    async def sign_up(self, principal: Principal | None, new: NewAccount, origin: Origin) -> User | None:
        """Create an account with the default roles, and return it.

        Where addresses have to be verified, a stranger's account is created later, if the address has none, and
        the result is None in any case: nothing is looked up before this returns, so that neither result nor time
        tells whether there is one. Administrators create accounts at once, however the server is set.

        Raises:
            Forbidden: sign-up is closed and the caller is no administrator.
            InvalidRequest: the address, the password or the metadata breaks a rule.
            Conflict: the address has an account.
            Unavailable: too many passwords are being hashed.
        """
        by_admin = principal is not None and principal.is_admin
        if self._mode == "closed" and not by_admin:
            raise Forbidden("Sign-up is closed: ask an administrator for an account")
        if self._mode == "open" or by_admin:
            return await self._accounts.create(new, DEFAULT_ROLES, principal, origin)
        account = await self._accounts.check(new)
        await self._jobs.add(self._sealer.seal(SIGN_UP, SignUpRequest(account, origin), None))
        return None

    def handlers(self) -> Mapping[str, Handler]:
        """What does the jobs that are stored here, by kind."""
        return {SIGN_UP: self._create}

    async def _create(self, claimed: ClaimedJob) -> None:
        request = self._sealer.open(claimed.job, SignUpRequest)
        try:
            await self._accounts.store(request.account, DEFAULT_ROLES, None, request.origin, finishes=claimed.claim)
        except Conflict:
            credentials = await self._users.find_credentials(address(request.account.email).key)
            if credentials is None:  # It was deleted in this moment: another try will create it.
                raise
            await self._mail.send("set-password", credentials.user, request.origin, claimed.claim)
