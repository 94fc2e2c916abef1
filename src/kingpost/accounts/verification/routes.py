"""Verification of e-mail addresses over HTTP."""

import contextlib

from kingpost.accounts.verification.schemas import StopEmailChange, VerifyEmail
from kingpost.accounts.verification.service import Verification
from kingpost.http.app.answers import NO_STORE, Answer
from kingpost.http.app.call import Call
from kingpost.http.app.router import Route, Who
from kingpost.problems import Conflict, Forbidden, Unauthenticated
from kingpost.tags import RECOVERY


async def verify_email(call: Call, verification: Verification) -> Answer:
    body: VerifyEmail = call.body
    # The token of the link is enough. Bad credentials, and API keys, are passed over.
    with contextlib.suppress(Unauthenticated, Forbidden):
        await call.authenticate()
    await verification.verify(call.context, body.token)
    return Answer(204, b"", [NO_STORE])


async def stop_email_change(call: Call, verification: Verification) -> Answer:
    body: StopEmailChange = call.body
    await verification.stop(call.context, body.token)
    return Answer(204, b"", [NO_STORE])


ROUTES: tuple[Route[Verification], ...] = (
    Route(
        method="POST",
        path="/api/auth/email/verify",
        handler=verify_email,
        who=Who.ANYONE_MAYBE_CALLER,
        tag=RECOVERY,
        summary="Verify an address with the token from a link, or complete a change of address",
        description="If the account's address was never verified before, another person may have signed up with it. "
        "So this removes everything that was set up before: the second factor and its recovery codes, API keys, all "
        "sessions, and a pending change of address. Send an access token of the account, and all of this is kept.",
        body=VerifyEmail,
        status=204,
        problems=(Conflict,),
    ),
    Route(
        method="POST",
        path="/api/auth/email/stop",
        handler=stop_email_change,
        who=Who.ANYONE,
        tag=RECOVERY,
        summary="Stop a pending change of address with the token from the link that the old address got",
        body=StopEmailChange,
        status=204,
    ),
)
