"""The second factor over HTTP."""

from kingpost.auth.second_factor.schemas import (
    BeginSecondFactor,
    ConfirmSecondFactor,
    DisableSecondFactor,
    EnrolmentBody,
    RecoveryCodesBody,
    SecondFactorState,
)
from kingpost.auth.second_factor.service import SecondFactors
from kingpost.http.app.answers import NO_STORE, PRIVATE, Answer, answer
from kingpost.http.app.call import Call
from kingpost.http.app.router import Route, Who
from kingpost.problems import Conflict, Forbidden, NotFound, RateLimited
from kingpost.tags import SIGN_IN, USERS


async def get_second_factor(call: Call, second_factors: SecondFactors) -> Answer:
    factor = await second_factors.find(call.caller.user_id)
    left = 0 if factor is None else factor.recovery_codes_left
    return answer(SecondFactorState(enabled=factor is not None, recovery_codes_left=left), PRIVATE)


async def begin_second_factor(call: Call, second_factors: SecondFactors) -> Answer:
    body: BeginSecondFactor = call.body
    enrolment = await second_factors.begin(call.context, body.password, body.otp)
    return answer(EnrolmentBody(enrolment.secret, enrolment.uri, enrolment.qr_svg), NO_STORE)


async def confirm_second_factor(call: Call, second_factors: SecondFactors) -> Answer:
    body: ConfirmSecondFactor = call.body
    codes = await second_factors.confirm(call.context, body.otp)
    return answer(RecoveryCodesBody(list(codes)), NO_STORE)


async def disable_second_factor(call: Call, second_factors: SecondFactors) -> Answer:
    body: DisableSecondFactor = call.body
    await second_factors.disable(call.context, body.password, body.otp)
    return Answer(204, b"", [NO_STORE])


async def remove_second_factor(call: Call, second_factors: SecondFactors) -> Answer:
    await second_factors.remove(call.context, call.path["id"])
    return Answer(204, b"", [NO_STORE])


ROUTES: tuple[Route[SecondFactors], ...] = (
    Route(
        method="GET",
        path="/api/auth/totp",
        handler=get_second_factor,
        who=Who.CALLER,
        tag=SIGN_IN,
        summary="Read the state of your second factor",
        result=SecondFactorState,
    ),
    Route(
        method="POST",
        path="/api/auth/totp",
        handler=begin_second_factor,
        who=Who.CALLER,
        tag=SIGN_IN,
        summary="Start to set up a second factor",
        body=BeginSecondFactor,
        result=EnrolmentBody,
        problems=(Conflict, Forbidden, RateLimited),
    ),
    Route(
        method="POST",
        path="/api/auth/totp/confirm",
        handler=confirm_second_factor,
        who=Who.CALLER,
        tag=SIGN_IN,
        summary="Enable your second factor with its first code",
        body=ConfirmSecondFactor,
        result=RecoveryCodesBody,
        problems=(Conflict, RateLimited),
    ),
    Route(
        method="DELETE",
        path="/api/auth/totp",
        handler=disable_second_factor,
        who=Who.CALLER,
        tag=SIGN_IN,
        summary="Remove your second factor",
        body=DisableSecondFactor,
        status=204,
        problems=(Forbidden, NotFound, RateLimited),
    ),
    Route(
        method="DELETE",
        path="/api/users/{id}/totp",
        handler=remove_second_factor,
        who=Who.CALLER,
        scopes=("users:admin",),
        tag=USERS,
        summary="Remove the second factor of a user who has lost it",
        description="For administrators. They cannot remove their own second factor in this way.",
        status=204,
        problems=(Forbidden, NotFound),
    ),
)
