"""Access tokens: verification by other programs, and refusal of forged tokens."""

import hashlib
import hmac
import json
import time
from typing import Any

import httpx
import jwt
import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey
from joserfc.jws import JWSRegistry

from tests.api.forging import JsonObject, encode, parts, segment, signed_by_us
from tests.api.stack import ORIGIN, UNKNOWN_ID, Caller, Serve, Stack, assert_problem


async def assert_refused(stack: Stack, token: str) -> None:
    response = await stack.client(token).get("/api/v1/users/me")
    assert_problem(response, 401, "unauthenticated")


# --- verification by other programs ----------------------------------------------------------------


async def test_other_programs_can_verify_an_access_token_with_the_published_keys(
    client: httpx.AsyncClient, alice: Caller
) -> None:
    response = await client.get("/.well-known/jwks.json")
    assert response.headers["content-type"] == "application/json"
    keys = jwt.PyJWKSet.from_dict(response.json())
    header = jwt.get_unverified_header(alice.access_token)
    claims = jwt.decode(
        alice.access_token,
        keys[header["kid"]],
        algorithms=["ES256"],
        issuer=ORIGIN,
        audience=ORIGIN,
        subject=alice.id,
        options={"require": ["iss", "aud", "sub", "sid", "iat", "exp", "jti", "client_id"]},
    )
    assert header["typ"] == "at+jwt"
    assert claims["sid"] == alice.session_id
    assert claims["exp"] - claims["iat"] == 600
    assert claims["roles"] == ["user"]


async def test_the_published_keys_contain_no_private_parts(client: httpx.AsyncClient) -> None:
    for key in (await client.get("/.well-known/jwks.json")).json()["keys"]:
        assert key.keys() <= {"kid", "use", "alg", "kty", "crv", "x", "y"}
        assert key["kid"]
        assert key["use"] == "sig"


async def test_each_token_has_a_unique_id(stack: Stack) -> None:
    caller = await stack.sign_up()
    refreshed = await stack.client().post("/api/v1/auth/refresh", json={"refresh_token": caller.refresh_token})
    ids = {parts(token)[1]["jti"] for token in (caller.access_token, refreshed.json()["access_token"])}
    assert len(ids) == 2


# --- invalid credentials ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        *("", "Bearer", "Bearer ", "Bearer x", "Bearer ..", "Bearer a.b.c", "Basic YWRhOnBhc3N3b3Jk", "x", "Bearer é"),
        *("Bearer " + "x" * 10_000, "Bearer " + "." * 5000, "Token abc", "Bearer null", "Bearer undefined", "a b c"),
    ],
)
async def test_invalid_authorization_headers_are_refused(client: httpx.AsyncClient, value: str) -> None:
    response = await client.get("/api/v1/users/me", headers={b"Authorization": value.encode()})
    assert_problem(response, 401, "unauthenticated")


async def test_the_authorization_scheme_is_case_insensitive(client: httpx.AsyncClient, alice: Caller) -> None:
    for scheme in ("bearer", "BEARER", "Bearer"):
        headers = {"Authorization": f"{scheme} {alice.access_token}"}
        assert (await client.get("/api/v1/users/me", headers=headers)).status_code == 200


async def test_a_token_in_the_query_or_a_cookie_is_ignored(client: httpx.AsyncClient, alice: Caller) -> None:
    response = await client.get(f"/api/v1/users/me?access_token={alice.access_token}")
    assert_problem(response, 401, "unauthenticated")
    response = await client.get("/api/v1/users/me", headers={"Cookie": f"access_token={alice.access_token}"})
    assert_problem(response, 401, "unauthenticated")


async def test_two_authorization_headers_are_refused(client: httpx.AsyncClient, alice: Caller, bob: Caller) -> None:
    headers = [("Authorization", f"Bearer {caller.access_token}") for caller in (alice, bob)]
    assert_problem(await client.get("/api/v1/users/me", headers=headers), 401, "unauthenticated")


async def test_a_refresh_token_is_not_accepted_as_an_access_token(stack: Stack, alice: Caller) -> None:
    await assert_refused(stack, alice.refresh_token)


# --- forgeries -------------------------------------------------------------------------------------


async def test_a_token_with_any_part_changed_is_refused(stack: Stack, alice: Caller) -> None:
    token = alice.access_token
    # Including the last character, whose unused bits a lenient decoder would ignore.
    for index in [*range(0, len(token), 23), *range(len(token) - 5, len(token))]:
        for other in "AQ":
            if token[index] not in (other, "."):
                await assert_refused(stack, token[:index] + other + token[index + 1 :])
    for changed in (token + "A", token + "=", token[:-1], token + ".x", "." + token, token.replace(".", "..", 1)):
        await assert_refused(stack, changed)


@pytest.mark.parametrize(
    "change",
    [
        {"sub": UNKNOWN_ID},
        {"roles": ["user", "admin"]},
        {"sid": UNKNOWN_ID},
        {"exp": int(time.time()) + 10**6},
        {"iss": "https://evil.example.com", "aud": "https://evil.example.com"},
    ],
)
async def test_changed_claims_with_the_same_signature_are_refused(
    stack: Stack, alice: Caller, change: JsonObject
) -> None:
    header, claims, signature = parts(alice.access_token)
    await assert_refused(stack, f"{segment(header)}.{segment(claims | change)}.{signature}")


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
async def test_an_unsigned_token_is_refused(stack: Stack, alice: Caller, name: str) -> None:
    header, claims, signature = parts(alice.access_token)
    for end in ("", signature):
        await assert_refused(stack, f"{segment(header | {'alg': name})}.{segment(claims)}.{end}")


async def test_a_public_key_is_not_accepted_as_an_hmac_secret(
    stack: Stack, client: httpx.AsyncClient, alice: Caller
) -> None:
    (jwk,) = (await client.get("/.well-known/jwks.json")).json()["keys"]
    key = ECKey.import_key(jwk)
    header, claims, _ = parts(alice.access_token)
    for secret in (key.as_pem(private=False), key.as_der(private=False), json.dumps(jwk).encode(), jwk["x"].encode()):
        signed = f"{segment(header | {'alg': 'HS256'})}.{segment(claims)}"
        await assert_refused(stack, f"{signed}.{encode(hmac.digest(secret, signed.encode(), hashlib.sha256))}")


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "HS256"])
async def test_an_unknown_key_is_refused_with_any_key_header(stack: Stack, alice: Caller, algorithm: str) -> None:
    header, claims, _ = parts(alice.access_token)
    keys = {
        "ES256": ECKey.generate_key("P-256", private=True),
        "RS256": RSAKey.generate_key(2048, private=True),
        "HS256": OctKey.generate_key(256),
    }
    key: Any = keys[algorithm]
    embedded: JsonObject = {} if algorithm == "HS256" else {"jwk": key.as_dict(private=False)}
    for extra in (
        {},
        embedded,
        {"jku": "https://evil.example.com/jwks.json"},
        {"x5u": "https://evil.example.com/x"},
        {"kid": UNKNOWN_ID},
        {"kid": "../../dev/null"},
        {"kid": "' OR 1=1 --"},
    ):
        signed = f"{segment(header | {'alg': algorithm} | extra)}.{segment(claims)}"
        signature = JWSRegistry.algorithms[algorithm].sign(signed.encode(), key)
        await assert_refused(stack, f"{signed}.{encode(signature)}")


@pytest.mark.parametrize(
    "extra",
    [{"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"zip": "DEF"}, {"typ": "JWT"}, {"cty": "JWT"}],
)
async def test_unexpected_headers_are_refused_even_with_a_valid_signature(
    stack: Stack, alice: Caller, extra: JsonObject
) -> None:
    header, claims, _ = parts(alice.access_token)
    response = await stack.client(signed_by_us(stack, header, claims)).get("/api/v1/users/me")
    assert response.status_code == 200
    await assert_refused(stack, signed_by_us(stack, header | extra, claims))


@pytest.mark.parametrize(
    "change",
    [
        {"exp": int(time.time()) - 1},
        {"iat": int(time.time()) + 3600, "exp": int(time.time()) + 7200},
        {"iss": "https://other.example.com", "aud": "https://other.example.com"},
        {"aud": "https://other.example.com"},
        {"sid": 5},
        {"exp": "never"},
        {"exp": None},
        {"sub": None},
    ],
)
async def test_invalid_claims_are_refused_even_with_a_valid_signature(
    stack: Stack, alice: Caller, change: JsonObject
) -> None:
    header, claims, _ = parts(alice.access_token)
    await assert_refused(stack, signed_by_us(stack, header, claims | change))


@pytest.mark.parametrize("missing", ["iss", "aud", "sub", "sid", "iat", "exp", "jti"])
async def test_a_token_without_one_of_its_claims_is_refused(stack: Stack, alice: Caller, missing: str) -> None:
    header, claims, _ = parts(alice.access_token)
    del claims[missing]
    await assert_refused(stack, signed_by_us(stack, header, claims))


async def test_a_token_of_another_server_is_refused(stack: Stack, serve: Serve) -> None:
    other = await serve(SECRET="another master secret, also long enough")
    caller = await other.sign_up()
    await assert_refused(stack, caller.access_token)
    refresh = await stack.client().post("/api/v1/auth/refresh", json={"refresh_token": caller.refresh_token})
    assert_problem(refresh, 401, "unauthenticated")
