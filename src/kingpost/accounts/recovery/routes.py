"""Recovery over HTTP."""

from collections.abc import Iterable
from typing import Any

from kingpost.accounts.recovery.schemas import ResetPassword
from kingpost.accounts.recovery.service import Recovery
from kingpost.http.app.answers import NO_STORE, Answer
from kingpost.http.app.call import Call
from kingpost.http.app.input import Rules
from kingpost.http.app.router import Route, Who
from kingpost.problems import Fault
from kingpost.tags import RECOVERY


async def reset_password(call: Call, recovery: Recovery) -> Answer:
    body: ResetPassword = call.body
    await recovery.reset(call.context, body.token, body.new_password, keep_api_keys=body.keep_api_keys)
    return Answer(204, b"", [NO_STORE])


def new_password_rules(recovery: Recovery) -> Rules:
    """Return the rules of a new password. Their faults are reported together with the schema's."""

    def rules(document: dict[str, Any]) -> Iterable[Fault]:
        new = document.get("new_password")
        return recovery.faults(new, "") if isinstance(new, str) else ()

    return rules


ROUTES: tuple[Route[Recovery], ...] = (
    Route(
        method="POST",
        path="/api/auth/password/reset",
        handler=reset_password,
        who=Who.ANYONE,
        tag=RECOVERY,
        summary="Reset a password with the token from a link, and end all sessions and API keys",
        description="With `keep_api_keys`, the API keys keep working, except those from before the address was "
        "verified for the first time.",
        body=ResetPassword,
        rules=new_password_rules,
        status=204,
    ),
)
