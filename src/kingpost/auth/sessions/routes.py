"""Signing in and out on the wire."""

from collections.abc import Sequence

from kingpost.accounts.users.schemas import UserBody
from kingpost.auth.sessions.schemas import GrantBody, Login, Logout, Refresh, SessionBody, SessionList
from kingpost.auth.sessions.service import Grant
from kingpost.http.app.call import NO_STORE, PRIVATE, Answer, Call, answer
from kingpost.model import Session


async def login(call: Call) -> Answer:
    body: Login = call.body
    return _granted(await call.features.sessions.login(body.email, body.password, body.otp, call.origin))


async def refresh(call: Call) -> Answer:
    body: Refresh = call.body
    return _granted(await call.features.sessions.refresh(body.refresh_token, call.origin))


async def logout(call: Call) -> Answer:
    body: Logout = call.body or Logout()
    sessions = call.features.sessions
    if body.refresh_token is not None:
        # It is proof enough: clients send it along with an access token that has expired or been revoked.
        await sessions.logout_with(body.refresh_token, call.origin, everywhere=body.everywhere)
    else:
        await sessions.logout(await call.authenticate(), call.origin, everywhere=body.everywhere)
    return Answer(204, b"", [NO_STORE])


async def list_sessions(call: Call) -> Answer:
    return _listed(call, await call.features.sessions.list(call.caller.user_id))


async def list_user_sessions(call: Call) -> Answer:
    return _listed(call, await call.features.sessions.list_of(call.caller, call.path["id"]))


async def end_session(call: Call) -> Answer:
    await call.features.sessions.end(call.caller, call.path["id"], call.origin)
    return Answer(204, b"", [NO_STORE])


async def end_other_sessions(call: Call) -> Answer:
    await call.features.sessions.end_others(call.caller, call.origin)
    return Answer(204, b"", [NO_STORE])


async def end_user_sessions(call: Call) -> Answer:
    await call.features.sessions.end_all_of(call.caller, call.path["id"], call.origin)
    return Answer(204, b"", [NO_STORE])


async def jwks(call: Call) -> Answer:
    return answer(call.features.keys.jwks(), (b"cache-control", b"public, max-age=300"))


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
        user=UserBody.of(grant.user),
    )
    return answer(body, NO_STORE)
