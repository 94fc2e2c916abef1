"""Verification of e-mail addresses over HTTP."""

from kingpost.accounts.verification.schemas import VerifyEmail
from kingpost.accounts.verification.service import Verification
from kingpost.http.app.answers import NO_STORE, Answer
from kingpost.http.app.call import Call
from kingpost.http.app.router import Route, Who
from kingpost.problems import Conflict
from kingpost.tags import RECOVERY


async def verify_email(call: Call, verification: Verification) -> Answer:
    body: VerifyEmail = call.body
    await verification.verify(call.context, body.token)
    return Answer(204, b"", [NO_STORE])


ROUTES: tuple[Route[Verification], ...] = (
    Route(
        method="POST",
        path="/api/auth/email/verify",
        handler=verify_email,
        who=Who.ANYONE,
        tag=RECOVERY,
        summary="Verify an address with the token from a link, or complete a change of address",
        body=VerifyEmail,
        status=204,
        problems=(Conflict,),
    ),
)
