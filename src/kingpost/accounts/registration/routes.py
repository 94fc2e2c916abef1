"""Sign-up over HTTP."""

from collections.abc import Iterable
from typing import Any

from kingpost.accounts.mail_requests.routes import accepted
from kingpost.accounts.mail_requests.schemas import Accepted
from kingpost.accounts.registration.schemas import SignUp
from kingpost.accounts.registration.service import NewAccount, Registration
from kingpost.accounts.users.schemas import UserBody
from kingpost.accounts.users.service import metadata_faults
from kingpost.emails import email_faults
from kingpost.http.app.answers import NO_STORE, Answer, answer
from kingpost.http.app.call import Call
from kingpost.http.app.input import Rules
from kingpost.http.app.router import Route, Who
from kingpost.problems import Conflict, Fault, Forbidden, Unauthenticated
from kingpost.tags import USERS


async def create_user(call: Call, registration: Registration) -> Answer:
    new: SignUp = call.body
    if call.header(b"authorization") is not None:
        try:
            await call.authenticate()
        except Unauthenticated:  # Anyone may sign up, also with a stale token or with the credentials of a proxy.
            if registration.needs_caller:
                raise
    account = NewAccount(new.email, new.password, new.name, new.metadata)
    user = await registration.sign_up(call.context, account)
    if user is None:
        return accepted()
    location = (b"location", f"/api/v1/users/{user.id}".encode())
    return answer(UserBody.of(user), NO_STORE, location, status=201, version=user.version)


def sign_up_rules(registration: Registration) -> Rules:
    """Return the rules of address, password and metadata. Their faults are reported together with the schema's."""

    def rules(document: dict[str, Any]) -> Iterable[Fault]:
        email, password, metadata = (document.get(name) for name in ("email", "password", "metadata"))
        if isinstance(email, str):
            yield from email_faults(email)
        if isinstance(password, str):
            yield from registration.password_faults(password, email if isinstance(email, str) else "")
        if isinstance(metadata, dict):
            yield from metadata_faults(metadata)

    return rules


ROUTES: tuple[Route[Registration], ...] = (
    Route(
        method="POST",
        path="/api/users",
        handler=create_user,
        who=Who.ANYONE_OR_CALLER,
        scopes=("users:admin",),
        tag=USERS,
        summary="Sign up",
        description="If the server requires verified addresses, clients without credentials get 202, and the next "
        "step is sent by mail.",
        body=SignUp,
        rules=sign_up_rules,
        result=UserBody,
        status=201,
        accepted=Accepted,
        headers=("Location", "ETag"),
        problems=(Conflict, Forbidden),
    ),
)
