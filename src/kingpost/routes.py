"""Every route, on one screen."""

from kingpost.accounts.export import routes as export
from kingpost.accounts.export.schemas import AccountExportBody
from kingpost.accounts.pages import routes as mail_pages
from kingpost.accounts.pages.routes import LinkQuery
from kingpost.accounts.recovery import routes as recovery
from kingpost.accounts.recovery.schemas import Accepted, ForgotPassword, ResendVerification, ResetPassword, VerifyEmail
from kingpost.accounts.users import routes as accounts
from kingpost.accounts.users.schemas import (
    ChangePassword,
    ChangeUser,
    ReplaceUser,
    SignUp,
    UserBody,
    UserList,
    UserQuery,
)
from kingpost.audit import routes as audit
from kingpost.audit.schemas import AuditEntryBody, AuditExportQuery, AuditList, AuditQuery
from kingpost.auth.api_keys import routes as api_keys
from kingpost.auth.api_keys.schemas import APIKeyList, CreateAPIKey, CreatedAPIKeyBody
from kingpost.auth.second_factor import routes as second_factor
from kingpost.auth.second_factor.schemas import (
    BeginSecondFactor,
    ConfirmSecondFactor,
    DisableSecondFactor,
    EnrolmentBody,
    RecoveryCodesBody,
    SecondFactorState,
)
from kingpost.auth.sessions import routes as sessions
from kingpost.auth.sessions.schemas import GrantBody, JSONWebKeySet, Login, Logout, Refresh, SessionList
from kingpost.http.app import operations as ops
from kingpost.http.app.operations import HTML
from kingpost.http.app.router import Route, Who
from kingpost.http.app.schemas import Health
from kingpost.problems import (
    Conflict,
    Forbidden,
    InvalidCredentials,
    MfaRequired,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from kingpost.resources import routes as resources
from kingpost.resources.schemas import (
    CreateResource,
    PatchResource,
    ReplaceResource,
    ResourceBody,
    ResourceList,
    ResourceQuery,
)

ANYONE, OPTIONAL, CALLER, ADMIN = Who.ANYONE, Who.ANYONE_OR_CALLER, Who.CALLER, Who.ADMIN

# fmt: off
ROUTES: tuple[Route, ...] = (
    Route(method="POST", path="/api/users", handler=accounts.create_user, who=OPTIONAL, tag="Users",
          scope="users:write",
          summary="Sign up", body=SignUp, rules=accounts.account_rules, result=UserBody, status=201,
          accepted=Accepted, headers=("Location", "ETag"), problems=(Conflict, Forbidden),
          description="Where addresses have to be verified, strangers get 202 and everything else comes by mail."),
    Route(method="GET", path="/api/users", handler=accounts.list_users, who=ADMIN, tag="Users",
          scope="users:read", summary="List accounts", query=UserQuery, result=UserList, headers=("Link",)),
    Route(method="GET", path="/api/users/me", handler=accounts.get_me, who=CALLER, tag="Users",
          scope="users:read",
          summary="Read your own account", result=UserBody, headers=("ETag",), problems=(NotFound,)),
    Route(method="GET", path="/api/users/{id}", handler=accounts.get_user, who=CALLER, tag="Users",
          scope="users:read",
          summary="Read an account", result=UserBody, headers=("ETag",), problems=(Forbidden, NotFound)),
    Route(method="PUT", path="/api/users/{id}", handler=accounts.replace_user, who=CALLER, tag="Users",
          scope="users:write",
          summary="Replace an account", body=ReplaceUser, rules=accounts.account_rules, result=UserBody,
          headers=("ETag",), preconditions=True, problems=(Conflict, Forbidden, NotFound, RateLimited)),
    Route(method="PATCH", path="/api/users/{id}", handler=accounts.patch_user, who=CALLER, tag="Users",
          scope="users:write",
          summary="Change an account", body=ChangeUser, rules=accounts.account_rules, result=UserBody,
          headers=("ETag",), preconditions=True, problems=(Conflict, Forbidden, NotFound, RateLimited)),
    Route(method="DELETE", path="/api/users/{id}", handler=accounts.delete_user, who=CALLER, tag="Users",
          scope="users:write", summary="Delete an account with all that it owns", status=204, preconditions=True,
          problems=(Conflict, Forbidden, NotFound)),
    Route(method="GET", path="/api/users/{id}/export", handler=export.export_user, who=CALLER, tag="Users",
          scope="users:read", summary="Take along everything that is kept about an account",
          description="With an API key this needs the scope `resources:read` as well.",
          result=AccountExportBody, headers=("Content-Disposition",), problems=(Forbidden, NotFound)),
    Route(method="PUT", path="/api/users/{id}/password", handler=accounts.change_password, who=CALLER, tag="Users",
          summary="Change your password and end your other sessions", body=ChangePassword,
          rules=accounts.new_password_rules, status=204, problems=(Forbidden, NotFound, RateLimited)),

    Route(method="POST", path="/api/auth/login", handler=sessions.login, who=ANYONE, tag="Sign-in",
          summary="Log in", body=Login, result=GrantBody,
          problems=(InvalidCredentials, MfaRequired, RateLimited)),
    Route(method="POST", path="/api/auth/refresh", handler=sessions.refresh, who=ANYONE, tag="Sign-in",
          summary="Exchange a refresh token for new tokens", body=Refresh, result=GrantBody,
          problems=(Unauthenticated,)),
    Route(method="POST", path="/api/auth/logout", handler=sessions.logout, who=OPTIONAL, tag="Sign-in",
          summary="Log out", body=Logout, body_optional=True, status=204, problems=(Unauthenticated,)),
    Route(method="GET", path="/api/auth/sessions", handler=sessions.list_sessions, who=CALLER, tag="Sign-in",
          summary="List your sessions", result=SessionList),
    Route(method="DELETE", path="/api/auth/sessions/{id}", handler=sessions.end_session, who=CALLER, tag="Sign-in",
          summary="End one of your sessions; as an administrator anybody's", status=204,
          problems=(Forbidden, NotFound)),
    Route(method="DELETE", path="/api/auth/sessions", handler=sessions.end_other_sessions, who=CALLER, tag="Sign-in",
          summary="End all your sessions but this one", status=204),
    Route(method="GET", path="/api/users/{id}/sessions", handler=sessions.list_user_sessions, who=CALLER, tag="Users",
          summary="List an account's sessions", result=SessionList,
          problems=(Forbidden, NotFound)),
    Route(method="DELETE", path="/api/users/{id}/sessions", handler=sessions.end_user_sessions, who=CALLER, tag="Users",
          summary="End all sessions of an account", status=204, problems=(Forbidden, NotFound)),
    Route(method="POST", path="/api/auth/email/verify", handler=recovery.verify_email, who=ANYONE, tag="Recovery",
          summary="Verify an address, or move an account to it, with the token of a link", body=VerifyEmail,
          status=204, problems=(Conflict,)),
    Route(method="POST", path="/api/auth/email/resend", handler=recovery.resend_verification, who=OPTIONAL,
          tag="Recovery", summary="Have another link sent that verifies an address", body=ResendVerification,
          body_optional=True, result=Accepted, status=202, problems=(NotFound,)),
    Route(method="POST", path="/api/auth/password/forgot", handler=recovery.forgot_password, who=ANYONE,
          tag="Recovery", summary="Have a link sent that allows a new password", body=ForgotPassword,
          result=Accepted, status=202),
    Route(method="POST", path="/api/auth/password/reset", handler=recovery.reset_password, who=ANYONE, tag="Recovery",
          summary="Set a new password with the token of a link, and end all sessions", body=ResetPassword,
          rules=accounts.new_password_rules, status=204),

    Route(method="GET", path="/api/auth/totp", handler=second_factor.get_second_factor, who=CALLER, tag="Sign-in",
          summary="Whether you have a second factor", result=SecondFactorState),
    Route(method="POST", path="/api/auth/totp", handler=second_factor.begin_second_factor, who=CALLER, tag="Sign-in",
          summary="Begin to set up a second factor", body=BeginSecondFactor, body_optional=True, result=EnrolmentBody,
          problems=(Conflict, Forbidden, RateLimited)),
    Route(method="POST", path="/api/auth/totp/confirm", handler=second_factor.confirm_second_factor, who=CALLER,
          tag="Sign-in", summary="Put your second factor into force", body=ConfirmSecondFactor,
          result=RecoveryCodesBody, problems=(Conflict, RateLimited)),
    Route(method="DELETE", path="/api/auth/totp", handler=second_factor.disable_second_factor, who=CALLER,
          tag="Sign-in", summary="Remove your second factor", body=DisableSecondFactor, status=204,
          problems=(Forbidden, NotFound, RateLimited)),
    Route(method="DELETE", path="/api/users/{id}/totp", handler=second_factor.remove_second_factor, who=CALLER,
          tag="Users", summary="Remove the second factor of somebody who has lost it",
          description="For administrators, and not for their own.", status=204, problems=(Forbidden, NotFound)),

    Route(method="POST", path="/api/api-keys", handler=api_keys.create_api_key, who=CALLER, tag="API keys",
          summary="Make an API key", description="The answer is the only one that ever holds the key.",
          body=CreateAPIKey, rules=api_keys.api_key_rules, result=CreatedAPIKeyBody, status=201,
          problems=(Conflict,)),
    Route(method="GET", path="/api/api-keys", handler=api_keys.list_api_keys, who=CALLER, tag="API keys",
          summary="List your API keys", result=APIKeyList),
    Route(method="DELETE", path="/api/api-keys/{id}", handler=api_keys.revoke_api_key, who=CALLER, tag="API keys",
          summary="Revoke one of your API keys; as an administrator anybody's", status=204,
          problems=(Forbidden, NotFound)),

    Route(method="GET", path="/api/resources", handler=resources.list_resources, who=CALLER, tag="Resources",
          scope="resources:read",
          summary="List resources", query=ResourceQuery, result=ResourceList, headers=("Link",)),
    Route(method="POST", path="/api/resources", handler=resources.create_resource, who=CALLER, tag="Resources",
          scope="resources:write", summary="Create a resource", body=CreateResource, result=ResourceBody, status=201,
          headers=("Location", "ETag")),
    Route(method="GET", path="/api/resources/{id}", handler=resources.get_resource, who=CALLER, tag="Resources",
          scope="resources:read",
          summary="Read a resource", result=ResourceBody, headers=("ETag",), problems=(Forbidden, NotFound)),
    Route(method="PUT", path="/api/resources/{id}", handler=resources.replace_resource, who=CALLER, tag="Resources",
          scope="resources:write",
          summary="Replace a resource's data", body=ReplaceResource, result=ResourceBody, headers=("ETag",),
          preconditions=True, problems=(Forbidden, NotFound)),
    Route(method="PATCH", path="/api/resources/{id}", handler=resources.patch_resource, who=CALLER, tag="Resources",
          scope="resources:write",
          summary="Change a resource's data", body=PatchResource, result=ResourceBody, headers=("ETag",),
          preconditions=True, problems=(Conflict, Forbidden, NotFound)),
    Route(method="DELETE", path="/api/resources/{id}", handler=resources.delete_resource, who=CALLER, tag="Resources",
          scope="resources:write",
          summary="Delete a resource", status=204, preconditions=True, problems=(Forbidden, NotFound)),

    Route(method="GET", path="/api/audit", handler=audit.list_audit, who=ADMIN, tag="Audit log",
          scope="audit:read", summary="Read the audit log", query=AuditQuery, result=AuditList, headers=("Link",)),
    Route(method="GET", path="/api/audit/export", handler=audit.export_audit, who=ADMIN, tag="Audit log",
          scope="audit:read", summary="Take the audit log along",
          description="One entry a line, oldest first, up to the moment of the request. A file that broke off is no "
                      "whole response.",
          query=AuditExportQuery, result=AuditEntryBody, media_type=audit.NDJSON, headers=("Content-Disposition",)),

    Route(method="GET", path="/email/verify", handler=mail_pages.verify_email, who=ANYONE, tag="Operations",
          summary="Where links to confirm an address lead", query=LinkQuery, media_type=HTML, is_hidden=True),
    Route(method="GET", path="/password/reset", handler=mail_pages.reset_password, who=ANYONE, tag="Operations",
          summary="Where links to a new password lead", query=LinkQuery, media_type=HTML, is_hidden=True),
    Route(method="GET", path="/mail/{asset}", handler=mail_pages.asset, who=ANYONE, tag="Operations", media_type="*/*",
          summary="What these two pages need", is_hidden=True),
    Route(method="GET", path="/livez", handler=ops.live, who=ANYONE, tag="Operations",
          summary="Whether the process is alive", result=Health),
    Route(method="GET", path="/readyz", handler=ops.ready, who=ANYONE, tag="Operations",
          summary="Whether requests can be served", result=Health, problems=(Unavailable,)),
    Route(method="GET", path="/.well-known/jwks.json", handler=sessions.jwks, who=ANYONE, tag="Operations",
          summary="The public keys of access tokens", result=JSONWebKeySet),
    Route(method="GET", path="/openapi.json", handler=ops.openapi, who=ANYONE, tag="Operations",
          summary="This document", is_hidden=True),
    Route(method="GET", path="/docs", handler=ops.docs, who=ANYONE, tag="Operations", media_type=HTML,
          summary="Interactive documentation", is_hidden=True),
    Route(method="GET", path="/docs/{asset}", handler=ops.docs_asset, who=ANYONE, tag="Operations", media_type="*/*",
          summary="What the documentation page needs", is_hidden=True),
    Route(method="GET", path="/problems/{slug}", handler=ops.problem, who=ANYONE, tag="Operations", media_type=HTML,
          summary="What a problem means", is_hidden=True),
)
# fmt: on
