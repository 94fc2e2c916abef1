"""The second factor on the wire."""

from kingpost.auth.second_factor.schemas import (
    BeginSecondFactor,
    ConfirmSecondFactor,
    DisableSecondFactor,
    EnrolmentBody,
    RecoveryCodesBody,
    SecondFactorState,
)
from kingpost.http.app.call import NO_STORE, PRIVATE, Answer, Call, answer


async def get_second_factor(call: Call) -> Answer:
    factor = await call.features.second_factors.find(call.caller.user_id)
    left = 0 if factor is None else factor.recovery_codes_left
    return answer(SecondFactorState(enabled=factor is not None, recovery_codes_left=left), PRIVATE)


async def begin_second_factor(call: Call) -> Answer:
    body: BeginSecondFactor = call.body or BeginSecondFactor()
    enrolment = await call.features.second_factors.begin(call.caller, body.password, call.origin)
    return answer(EnrolmentBody(enrolment.secret, enrolment.uri, enrolment.qr_svg), NO_STORE)


async def confirm_second_factor(call: Call) -> Answer:
    body: ConfirmSecondFactor = call.body
    codes = await call.features.second_factors.confirm(call.caller, body.otp, call.origin)
    return answer(RecoveryCodesBody(list(codes)), NO_STORE)


async def disable_second_factor(call: Call) -> Answer:
    body: DisableSecondFactor = call.body
    await call.features.second_factors.disable(call.caller, body.password, body.otp, call.origin)
    return Answer(204, b"", [NO_STORE])


async def remove_second_factor(call: Call) -> Answer:
    await call.features.second_factors.remove(call.caller, call.path["id"], call.origin)
    return Answer(204, b"", [NO_STORE])
