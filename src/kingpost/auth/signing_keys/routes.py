"""The public keys over HTTP."""

from kingpost.auth.signing_keys.ring import KeyRing
from kingpost.auth.signing_keys.schemas import JSONWebKeySet
from kingpost.http.app.answers import PUBLIC, Answer, answer
from kingpost.http.app.call import Call
from kingpost.http.app.operations import OPERATIONS
from kingpost.http.app.router import Route, Who


async def jwks(call: Call, keys: KeyRing) -> Answer:
    return answer(keys.jwks(), PUBLIC)


ROUTES: tuple[Route[KeyRing], ...] = (
    Route(
        method="GET",
        path="/.well-known/jwks.json",
        handler=jwks,
        who=Who.ANYONE,
        tag=OPERATIONS,
        summary="The public keys of access tokens",
        result=JSONWebKeySet,
    ),
)
