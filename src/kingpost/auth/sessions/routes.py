"""Signing in and out over HTTP."""

from collections.abc import Iterable, Sequence
from typing import Any

from kingpost import clock
from kingpost.accounts.users.schemas import UserBody
from kingpost.auth.sessions.schemas import GrantBody, Login, Logout, Refresh, SessionBody, SessionList
from kingpost.auth.sessions.service import Extent, Grant, Sessions
from kingpost.http.app.answers import NO_STORE, PRIVATE, Answer, answer
from kingpost.http.app.call import Call
from kingpost.http.app.router import Route, Who
from kingpost.model import Session
from kingpost.problems import (
    Fault,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    MfaRequired,
    NotFound,
    RateLimited,
    Unauthenticated,
)
from kingpost.tags import SIGN_IN, USERS


async def login(call: Call, sessions: Sessions) -> Answer:
    body: Login = call.body
    return _granted(await sessions.login(call.context, body.email, body.password, body.otp))


async def refresh(call: Call, sessions: Sessions) -> Answer:
    body: Refresh = call.body
    return _granted(await sessions.refresh(call.context, body.refresh_token))


async def logout(call: Call, sessions: Sessions) -> Answer:
    body: Logout = call.body or Logout()
    if body.refresh_token is not None:
        # The refresh token is enough: the access token that clients send, too, may have expired or been revoked.
        await sessions.logout_with(call.context, body.refresh_token, _extent(body))
    else:
        await call.authenticate()
        await sessions.logout(call.context, _extent(body))
    return Answer(204, b"", [NO_STORE])


def _extent(body: Logout) -> Extent:
    """Return what a logout ends.

    Raises:
        InvalidRequest: `keep_api_keys` without `everywhere`.
    """
    if faults := list(_extent_faults({"everywhere": body.everywhere, "keep_api_keys": body.keep_api_keys})):
        raise InvalidRequest.of(*faults)
    if not body.everywhere:
        return "session"
    return "sessions" if body.keep_api_keys else "everything"


def _extent_faults(document: dict[str, Any]) -> Iterable[Fault]:
    """Yield the rule of `keep_api_keys` if a logout breaks it."""
    if document.get("keep_api_keys") is True and document.get("everywhere") is not True:
        detail = "This is allowed only with `everywhere: true`: other logouts never end API keys"
        yield Fault(detail, "not_allowed", pointer="/keep_api_keys")


async def list_sessions(call: Call, sessions: Sessions) -> Answer:
    return _listed(call, await sessions.list(call.caller.user_id))


async def list_user_sessions(call: Call, sessions: Sessions) -> Answer:
    return _listed(call, await sessions.list_of(call.caller, call.path["id"]))


async def end_session(call: Call, sessions: Sessions) -> Answer:
    await sessions.end(call.context, call.path["id"])
    return Answer(204, b"", [NO_STORE])


async def end_other_sessions(call: Call, sessions: Sessions) -> Answer:
    await sessions.end_others(call.context)
    return Answer(204, b"", [NO_STORE])


async def end_user_sessions(call: Call, sessions: Sessions) -> Answer:
    await sessions.end_all_of(call.context, call.path["id"])
    return Answer(204, b"", [NO_STORE])


def _listed(call: Call, sessions: Sequence[Session]) -> Answer:
    bodies = [SessionBody.of(session, call.caller.session_id) for session in sessions]
    return answer(SessionList(bodies, next_cursor=None), PRIVATE)


def _granted(grant: Grant) -> Answer:
    body = GrantBody(
        access_token=grant.access_token,
        token_type="Bearer",
        expires_in=grant.expires_in,
        refresh_token=grant.refresh_token,
        session_id=grant.session.id,
        user=UserBody.of(grant.user.as_of(clock.now()), for_owner=True),
    )
    return answer(body, NO_STORE)


ROUTES: tuple[Route[Sessions], ...] = (
    Route(
        method="POST",
        path="/api/auth/login",
        handler=login,
        who=Who.ANYONE,
        tag=SIGN_IN,
        summary="Log in",
        body=Login,
        result=GrantBody,
        problems=(InvalidCredentials, MfaRequired, RateLimited),
    ),
    Route(
        method="POST",
        path="/api/auth/refresh",
        handler=refresh,
        who=Who.ANYONE,
        tag=SIGN_IN,
        summary="Exchange a refresh token for new tokens",
        body=Refresh,
        result=GrantBody,
        problems=(Unauthenticated,),
    ),
    Route(
        method="POST",
        path="/api/auth/logout",
        handler=logout,
        who=Who.ANYONE_OR_CALLER,
        tag=SIGN_IN,
        summary="Log out",
        description="With `everywhere`, all sessions of the account end, and all its API keys unless `keep_api_keys` "
        "is set.",
        body=Logout,
        rules=lambda sessions: _extent_faults,
        body_optional=True,
        status=204,
        problems=(Unauthenticated,),
    ),
    Route(
        method="GET",
        path="/api/auth/sessions",
        handler=list_sessions,
        who=Who.CALLER,
        tag=SIGN_IN,
        summary="List your sessions",
        description="The 1,000 most recently used ones at most.",
        result=SessionList,
    ),
    Route(
        method="DELETE",
        path="/api/auth/sessions/{id}",
        handler=end_session,
        who=Who.CALLER,
        tag=SIGN_IN,
        summary="End one of your sessions, or as an administrator any session",
        status=204,
        problems=(Forbidden, NotFound),
    ),
    Route(
        method="DELETE",
        path="/api/auth/sessions",
        handler=end_other_sessions,
        who=Who.CALLER,
        tag=SIGN_IN,
        summary="End all your sessions except this one",
        description="Your API keys keep working.",
        status=204,
    ),
    Route(
        method="GET",
        path="/api/users/{id}/sessions",
        handler=list_user_sessions,
        who=Who.CALLER,
        tag=USERS,
        summary="List an account's sessions",
        description="The 1,000 most recently used ones at most.",
        result=SessionList,
        problems=(Forbidden, NotFound),
    ),
    Route(
        method="DELETE",
        path="/api/users/{id}/sessions",
        handler=end_user_sessions,
        who=Who.CALLER,
        scopes=("users:admin",),
        tag=USERS,
        summary="End all sessions of an account",
        description="Its API keys keep working. No API key can end the sessions of its owner.",
        status=204,
        problems=(Forbidden, NotFound),
    ),
)
