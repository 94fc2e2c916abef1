"""Passwords over HTTP."""

from collections.abc import Iterable
from typing import Any

from kingpost.auth.passwords.schemas import ChangePassword
from kingpost.auth.passwords.service import Passwords
from kingpost.http.app.answers import NO_STORE, Answer
from kingpost.http.app.call import Call
from kingpost.http.app.input import Rules
from kingpost.http.app.router import Route, Who
from kingpost.problems import Fault, Forbidden, NotFound, RateLimited
from kingpost.tags import USERS


async def change_password(call: Call, passwords: Passwords) -> Answer:
    body: ChangePassword = call.body
    await passwords.change(call.context, call.path["id"], body.current_password, body.otp, body.new_password)
    return Answer(204, b"", [NO_STORE])


def new_password_rules(passwords: Passwords) -> Rules:
    """Return the rules of a new password. Their faults are reported together with the schema's."""

    def rules(document: dict[str, Any]) -> Iterable[Fault]:
        new = document.get("new_password")
        return passwords.faults(new, "") if isinstance(new, str) else ()

    return rules


ROUTES: tuple[Route[Passwords], ...] = (
    Route(
        method="PUT",
        path="/api/users/{id}/password",
        handler=change_password,
        who=Who.CALLER,
        tag=USERS,
        summary="Change your password and end your other sessions",
        body=ChangePassword,
        rules=new_password_rules,
        status=204,
        problems=(Forbidden, NotFound, RateLimited),
    ),
)
