"""The composition of the account features: builds their services, and joins their routes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kingpost import clock
from kingpost.accounts.administration import Administration
from kingpost.accounts.export import routes as export_routes
from kingpost.accounts.export.service import Exports
from kingpost.accounts.mail_requests import routes as mail_request_routes
from kingpost.accounts.mail_requests.service import MailRequests
from kingpost.accounts.one_time_tokens.schemas import ExportedToken
from kingpost.accounts.one_time_tokens.store import OneTimeTokenStore
from kingpost.accounts.pages import routes as page_routes
from kingpost.accounts.pages.asked import AskedFor
from kingpost.accounts.recovery import routes as recovery_routes
from kingpost.accounts.recovery.service import Recovery
from kingpost.accounts.registration import routes as registration_routes
from kingpost.accounts.registration.service import Registration
from kingpost.accounts.users import routes as user_routes
from kingpost.accounts.users.service import Users
from kingpost.accounts.users.store import UserStore
from kingpost.accounts.verification import routes as verification_routes
from kingpost.accounts.verification.service import Verification
from kingpost.audit.store import AuditStore
from kingpost.auth.passwords.store import CredentialStore
from kingpost.auth.sessions.store import SessionStore
from kingpost.auth.wing import EXPORTS as AUTH_EXPORTS
from kingpost.auth.wing import Auth
from kingpost.http.app.router import Endpoint, Route, bind
from kingpost.jobs.runner import Handler
from kingpost.jobs.schemas import ExportedJob
from kingpost.jobs.sealing import JobSealer
from kingpost.jobs.store import JobStore
from kingpost.mail import Messages
from kingpost.resources.store import ResourceStore
from kingpost.settings import Settings

EXPORTS: Mapping[str, Any] = {**AUTH_EXPORTS, "one_time_tokens": list[ExportedToken], "jobs": list[ExportedJob]}
"""The types of the fields that the features add to an account's export, by name."""

EXPORT_ROUTES = export_routes.routes(EXPORTS)

ROUTES: Sequence[Route[Any]] = (
    *registration_routes.ROUTES,
    *user_routes.ROUTES,
    *EXPORT_ROUTES,
    *verification_routes.ROUTES,
    *mail_request_routes.ROUTES,
    *recovery_routes.ROUTES,
    *page_routes.ROUTES,
)


@dataclass(frozen=True, kw_only=True)
class AccountStores:
    """The stores that the account features need."""

    users: UserStore
    credentials: CredentialStore
    sessions: SessionStore
    one_time_tokens: OneTimeTokenStore
    resources: ResourceStore
    jobs: JobStore
    audit: AuditStore


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """The services of the account features."""

    users: Users
    registration: Registration
    verification: Verification
    mail_requests: MailRequests
    recovery: Recovery
    exports: Exports
    administration: Administration
    one_time_tokens: OneTimeTokenStore

    def endpoints(self) -> Sequence[Endpoint]:
        """Return the endpoints of the account features."""
        return [
            *bind(registration_routes.ROUTES, self.registration),
            *bind(user_routes.ROUTES, self.users),
            *bind(EXPORT_ROUTES, self.exports),
            *bind(verification_routes.ROUTES, self.verification),
            *bind(mail_request_routes.ROUTES, self.mail_requests),
            *bind(recovery_routes.ROUTES, self.recovery),
            *bind(page_routes.ROUTES, AskedFor(self.one_time_tokens)),
        ]

    def job_handlers(self) -> Mapping[str, Handler]:
        """Return the handlers of the jobs that the account features enqueue, by kind."""
        return {**self.registration.handlers(), **self.mail_requests.handlers()}

    async def run_housekeeping(self) -> None:
        """End the changes of address that have expired, and delete expired one-time tokens."""
        now = clock.now()
        await self.users.end_expired_changes(now)
        await self.one_time_tokens.forget_expired(now)


def build_accounts(
    settings: Settings, stores: AccountStores, auth: Auth, sealer: JobSealer, messages: Messages
) -> Accounts:
    """Build the services of the account features."""
    verified_only = settings.signup == "verified"
    verification = Verification(stores.one_time_tokens, messages, auth.revocations, verified_only=verified_only)
    mail_requests = MailRequests(
        stores.users, stores.one_time_tokens, stores.jobs, sealer, messages, verified_only=verified_only
    )
    registration = Registration(
        stores.users,
        auth.hasher,
        auth.password_rules,
        verification,
        stores.jobs,
        sealer,
        mail_requests,
        settings.signup,
    )
    return Accounts(
        users=Users(stores.users, auth.revocations, auth.reauthentication, auth.throttle, verification),
        registration=registration,
        verification=verification,
        mail_requests=mail_requests,
        recovery=Recovery(
            stores.one_time_tokens, messages, auth.hasher, auth.password_rules, auth.throttle, auth.revocations
        ),
        exports=Exports(
            stores.users,
            {**auth.exports, "one_time_tokens": stores.one_time_tokens.export, "jobs": stores.jobs.export},
            stores.audit,
            stores.resources,
        ),
        administration=Administration(
            stores.users,
            stores.credentials,
            stores.sessions,
            registration,
            auth.hasher,
            auth.password_rules,
            messages,
        ),
        one_time_tokens=stores.one_time_tokens,
    )
