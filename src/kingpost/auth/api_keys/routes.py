"""API keys on the wire."""

from collections.abc import Iterable
from typing import Any

from kingpost.auth.api_keys.schemas import APIKeyBody, APIKeyList, CreateAPIKey, CreatedAPIKeyBody
from kingpost.auth.api_keys.service import NewAPIKey
from kingpost.http.app.call import NO_STORE, PRIVATE, Answer, Call, Features, answer
from kingpost.http.app.input import Rules
from kingpost.problems import Fault


async def create_api_key(call: Call) -> Answer:
    body: CreateAPIKey = call.body
    new = NewAPIKey(body.name, body.scopes, body.expires_at)
    key, text = await call.features.api_keys.create(call.caller, new, call.origin)
    return answer(CreatedAPIKeyBody.of(key, key=text), NO_STORE, status=201)


def api_key_rules(features: Features) -> Rules:
    """Rules of scopes and expiry, told together with what the schema has to say."""

    def rules(document: dict[str, Any]) -> Iterable[Fault]:
        expires_at = document.get("expires_at")
        return features.api_keys.faults(NewAPIKey("", (), expires_at if isinstance(expires_at, str) else None))

    return rules


async def list_api_keys(call: Call) -> Answer:
    keys = await call.features.api_keys.list(call.caller)
    return answer(APIKeyList([APIKeyBody.of(key) for key in keys], next_cursor=None), PRIVATE)


async def revoke_api_key(call: Call) -> Answer:
    await call.features.api_keys.revoke(call.caller, call.path["id"], call.origin)
    return Answer(204, b"", [NO_STORE])
