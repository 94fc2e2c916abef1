"""Every route, on one screen."""

from kingpost.http import accounts, ops, resources, sessions
from kingpost.http.bodies.accounts import ChangePassword, ChangeUser, ReplaceUser, SignUp, UserBody, UserList, UserQuery
from kingpost.http.bodies.common import Health
from kingpost.http.bodies.resources import (
    CreateResource,
    PatchResource,
    ReplaceResource,
    ResourceBody,
    ResourceList,
    ResourceQuery,
)
from kingpost.http.bodies.sessions import GrantBody, JSONWebKeySet, Login, Logout, Refresh, SessionList
from kingpost.http.ops import HTML
from kingpost.http.router import Route, Who
from kingpost.problems import Conflict, Forbidden, InvalidCredentials, NotFound, Unauthenticated, Unavailable

ANYONE, OPTIONAL, CALLER, ADMIN = Who.ANYONE, Who.ANYONE_OR_CALLER, Who.CALLER, Who.ADMIN

# fmt: off
ROUTES: tuple[Route, ...] = (
    Route(method="POST", path="/api/users", handler=accounts.create_user, who=OPTIONAL, tag="Users",
          scope="users:write",
          summary="Sign up", body=SignUp, rules=accounts.account_rules, result=UserBody, status=201,
          headers=("Location", "ETag"), problems=(Conflict, Forbidden)),
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
          headers=("ETag",), preconditions=True, problems=(Conflict, Forbidden, NotFound)),
    Route(method="PATCH", path="/api/users/{id}", handler=accounts.patch_user, who=CALLER, tag="Users",
          scope="users:write",
          summary="Change an account", body=ChangeUser, rules=accounts.account_rules, result=UserBody,
          headers=("ETag",), preconditions=True, problems=(Conflict, Forbidden, NotFound)),
    Route(method="DELETE", path="/api/users/{id}", handler=accounts.delete_user, who=CALLER, tag="Users",
          scope="users:write", summary="Delete an account with all that it owns", status=204, preconditions=True,
          problems=(Conflict, Forbidden, NotFound)),
    Route(method="PUT", path="/api/users/{id}/password", handler=accounts.change_password, who=CALLER, tag="Users",
          summary="Change your password and end your other sessions", body=ChangePassword,
          rules=accounts.new_password_rules, status=204, problems=(Forbidden, NotFound)),

    Route(method="POST", path="/api/auth/login", handler=sessions.login, who=ANYONE, tag="Sign-in",
          summary="Log in", body=Login, result=GrantBody, problems=(InvalidCredentials,)),
    Route(method="POST", path="/api/auth/refresh", handler=sessions.refresh, who=ANYONE, tag="Sign-in",
          summary="Exchange a refresh token for new tokens", body=Refresh, result=GrantBody,
          problems=(Unauthenticated,)),
    Route(method="POST", path="/api/auth/logout", handler=sessions.logout, who=OPTIONAL, tag="Sign-in",
          summary="Log out", body=Logout, body_optional=True, status=204, problems=(Unauthenticated,)),
    Route(method="GET", path="/api/auth/sessions", handler=sessions.list_sessions, who=CALLER, tag="Sign-in",
          summary="List your sessions", result=SessionList),
    Route(method="DELETE", path="/api/auth/sessions/{id}", handler=sessions.end_session, who=CALLER, tag="Sign-in",
          summary="End one of your sessions", status=204, problems=(Forbidden, NotFound)),

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
