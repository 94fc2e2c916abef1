"""Signing in and out on the wire."""

from kingpost.http.bodies.accounts import UserBody
from kingpost.http.bodies.sessions import GrantBody, Login, Logout, Refresh, SessionBody, SessionList
from kingpost.http.call import NO_STORE, PRIVATE, Answer, Call, answer
from kingpost.sessions import Grant

DEVICE_LENGTH = 200


async def login(call: Call) -> Answer:
    body: Login = call.body
    agent = call.header(b"user-agent")
    device = None if agent is None else agent[:DEVICE_LENGTH]
    return _granted(await call.features.sessions.login(body.email, body.password, device, call.client_address))


async def refresh(call: Call) -> Answer:
    body: Refresh = call.body
    return _granted(await call.features.sessions.refresh(body.refresh_token))


async def logout(call: Call) -> Answer:
    body: Logout = call.body or Logout()
    sessions = call.features.sessions
    if body.refresh_token is not None:
        # It is proof enough: clients send it along with an access token that has expired or been revoked.
        await sessions.logout_with(body.refresh_token, everywhere=body.everywhere)
    else:
        await sessions.logout(await call.authenticate(), everywhere=body.everywhere)
    return Answer(204, b"", [NO_STORE])


async def list_sessions(call: Call) -> Answer:
    sessions = await call.features.sessions.list(call.caller)
    bodies = [SessionBody.of(session, call.caller.own_session) for session in sessions]
    return answer(SessionList(bodies, next_cursor=None), PRIVATE)


async def end_session(call: Call) -> Answer:
    await call.features.sessions.end(call.caller, call.path["id"])
    return Answer(204, b"", [NO_STORE])


async def jwks(call: Call) -> Answer:
    return answer(call.features.keys.jwks(), (b"cache-control", b"public, max-age=300"))


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
