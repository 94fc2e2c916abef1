"""API keys over HTTP."""

from collections.abc import Iterable
from typing import Any

from kingpost.auth.api_keys.schemas import APIKeyBody, APIKeyList, CreateAPIKey, CreatedAPIKeyBody
from kingpost.auth.api_keys.service import APIKeys, NewAPIKey
from kingpost.http.app.answers import NO_STORE, PRIVATE, Answer, answer
from kingpost.http.app.call import Call
from kingpost.http.app.input import Rules
from kingpost.http.app.router import Route, Tag, Who
from kingpost.problems import Conflict, Fault, Forbidden, NotFound, RateLimited

API_KEYS = Tag("API keys", "Credentials for machines, each with its own scopes.", place=40)


async def create_api_key(call: Call, api_keys: APIKeys) -> Answer:
    body: CreateAPIKey = call.body
    new = NewAPIKey(body.name, body.scopes, body.expires_at)
    key, text = await api_keys.create(call.context, new, body.password, body.otp)
    return answer(CreatedAPIKeyBody.of(key, key=text), NO_STORE, status=201)


def api_key_rules(api_keys: APIKeys) -> Rules:
    """Return the rules of scopes and expiry. Their faults are reported together with the schema's."""

    def rules(document: dict[str, Any]) -> Iterable[Fault]:
        expires_at = document.get("expires_at")
        return api_keys.faults(NewAPIKey("", (), expires_at if isinstance(expires_at, str) else None))

    return rules


async def list_api_keys(call: Call, api_keys: APIKeys) -> Answer:
    keys = await api_keys.list(call.caller.user_id)
    return answer(APIKeyList([APIKeyBody.of(key) for key in keys], next_cursor=None), PRIVATE)


async def revoke_api_key(call: Call, api_keys: APIKeys) -> Answer:
    await api_keys.revoke(call.context, call.path["id"])
    return Answer(204, b"", [NO_STORE])


ROUTES: tuple[Route[APIKeys], ...] = (
    Route(
        method="POST",
        path="/api/api-keys",
        handler=create_api_key,
        who=Who.CALLER,
        tag=API_KEYS,
        summary="Create an API key",
        description="Only this response contains the key. Store it: it cannot be read again.",
        body=CreateAPIKey,
        rules=api_key_rules,
        result=CreatedAPIKeyBody,
        status=201,
        problems=(Conflict, Forbidden, RateLimited),
    ),
    Route(
        method="GET",
        path="/api/api-keys",
        handler=list_api_keys,
        who=Who.CALLER,
        tag=API_KEYS,
        summary="List your API keys",
        result=APIKeyList,
    ),
    Route(
        method="DELETE",
        path="/api/api-keys/{id}",
        handler=revoke_api_key,
        who=Who.CALLER,
        tag=API_KEYS,
        summary="Revoke one of your API keys, or as an administrator any API key",
        status=204,
        problems=(Forbidden, NotFound),
    ),
)
