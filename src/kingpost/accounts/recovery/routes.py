"""Proving an address and choosing a new password, on the wire."""

from kingpost.accounts.recovery.schemas import Accepted, ForgotPassword, ResendVerification, ResetPassword, VerifyEmail
from kingpost.http.app.call import NO_STORE, Answer, Call, answer

ACCEPTED = Accepted("If there is something to do, a mail will say so: look into the mailbox.")


async def verify_email(call: Call) -> Answer:
    body: VerifyEmail = call.body
    await call.features.verification.verify(body.token, call.origin)
    return Answer(204, b"", [NO_STORE])


async def resend_verification(call: Call) -> Answer:
    body: ResendVerification | None = call.body
    if body is None:
        await call.features.verification.resend_own(await call.authenticate(), call.origin)
    else:
        await call.features.verification.resend(body.email, call.origin)
    return accepted()


async def forgot_password(call: Call) -> Answer:
    body: ForgotPassword = call.body
    await call.features.recovery.forgot(body.email, call.origin)
    return accepted()


async def reset_password(call: Call) -> Answer:
    body: ResetPassword = call.body
    await call.features.recovery.reset(body.token, body.new_password, call.origin)
    return Answer(204, b"", [NO_STORE])


def accepted() -> Answer:
    """The one answer for all addresses, whether they have accounts or not."""
    return answer(ACCEPTED, NO_STORE, status=202)
