"""Requests for mail over HTTP."""

from kingpost.accounts.mail_requests.schemas import Accepted, ForgotPassword, ResendVerification
from kingpost.accounts.mail_requests.service import MailRequests
from kingpost.http.app.answers import NO_STORE, Answer, answer
from kingpost.http.app.call import Call
from kingpost.http.app.router import Route, Who
from kingpost.problems import NotFound
from kingpost.tags import RECOVERY

ACCEPTED = Accepted("The request was accepted. If there is a next step, it is sent by mail: check the mailbox.")


async def forgot_password(call: Call, mail_requests: MailRequests) -> Answer:
    body: ForgotPassword = call.body
    await mail_requests.request_reset(call.context, body.email)
    return accepted()


async def resend_verification(call: Call, mail_requests: MailRequests) -> Answer:
    body: ResendVerification | None = call.body
    if body is None:
        await call.authenticate()
        await mail_requests.request_own_verification(call.context)
    else:
        await mail_requests.request_verification(call.context, body.email)
    return accepted()


def accepted() -> Answer:
    """Return the one answer for all addresses, whether they have accounts or not."""
    return answer(ACCEPTED, NO_STORE, status=202)


ROUTES: tuple[Route[MailRequests], ...] = (
    Route(
        method="POST",
        path="/api/auth/email/resend",
        handler=resend_verification,
        who=Who.ANYONE_OR_CALLER,
        tag=RECOVERY,
        summary="Request another link to verify an address",
        body=ResendVerification,
        body_optional=True,
        result=Accepted,
        status=202,
        problems=(NotFound,),
    ),
    Route(
        method="POST",
        path="/api/auth/password/forgot",
        handler=forgot_password,
        who=Who.ANYONE,
        tag=RECOVERY,
        summary="Request a link to reset a password",
        body=ForgotPassword,
        result=Accepted,
        status=202,
    ),
)
