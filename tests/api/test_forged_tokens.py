"""Forged tokens of every known kind are refused without a database query.

`test_tokens.py` tests in detail which tokens are refused; these tests check that a refusal costs no query.
"""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio
from joserfc import jwe
from joserfc.jwk import ECKey, OctKey
from joserfc.jws import JWSRegistry

from tests.api.forging import JsonObject, encode, parts, segment, signed_by_us
from tests.api.stack import UNKNOWN_ID, Caller, Stack, assert_problem


class Forger:
    """Makes forged tokens from the parts of a valid token, the published key, and a key of the attacker."""

    def __init__(self, stack: Stack, caller: Caller, jwk: JsonObject) -> None:
        self._stack = stack
        self.token = caller.access_token
        self.refresh_token = caller.refresh_token
        self.header, self.claims, self.signature = parts(caller.access_token)
        self.jwk = jwk
        self.key = ECKey.generate_key("P-256", private=True)

    def signed_by_server(self, header: JsonObject | None = None, claims: JsonObject | None = None) -> str:
        """A token signed with the server's own key, so that only its content is wrong."""
        return signed_by_us(self._stack, self.header | (header or {}), self.claims | (claims or {}))

    def signed_by_attacker(self, claims: JsonObject | None = None, **header: Any) -> str:
        """A token signed with the attacker's key."""
        signed = f"{segment(self.header | header)}.{segment(self.claims | (claims or {}))}"
        return f"{signed}.{encode(JWSRegistry.algorithms['ES256'].sign(signed.encode(), self.key))}"

    def signed_with_hmac(self, secret: bytes) -> str:
        """A token signed with HMAC, with a public value as the secret."""
        signed = f"{segment(self.header | {'alg': 'HS256'})}.{segment(self.claims)}"
        return f"{signed}.{encode(hmac.digest(secret, signed.encode(), hashlib.sha256))}"

    @property
    def public(self) -> ECKey:
        """The published key without its restriction to signatures."""
        return ECKey.import_key({name: self.jwk[name] for name in ("kty", "crv", "x", "y")})


def encrypted(forger: Forger, algorithm: str) -> str:
    """A JWE that contains a valid token, encrypted for the published key or with a secret of the attacker."""
    key = forger.public if algorithm.startswith("ECDH") else OctKey.generate_key(256)
    header = {"alg": algorithm, "enc": "A256GCM", "kid": forger.header["kid"], "typ": "at+jwt", "cty": "JWT"}
    return jwe.encrypt_compact(header, forger.token.encode(), key, algorithms=[algorithm, "A256GCM"])


NOW = int(time.time())
X5C = ["MIIBszCCAVmgAwIBAgIUY"]
FORGERIES: dict[str, Callable[[Forger], str]] = {
    "alg none": lambda f: f"{segment(f.header | {'alg': 'none'})}.{segment(f.claims)}.",
    "alg NoNe with a signature": lambda f: f"{segment(f.header | {'alg': 'NoNe'})}.{segment(f.claims)}.{f.signature}",
    "alg missing": lambda f: f"{segment({'kid': f.header['kid'], 'typ': 'at+jwt'})}.{segment(f.claims)}.{f.signature}",
    "HS256 with the public key as PEM": lambda f: f.signed_with_hmac(f.public.as_pem(private=False)),
    "HS256 with the public key as DER": lambda f: f.signed_with_hmac(f.public.as_der(private=False)),
    "HS256 with the public key as JWK": lambda f: f.signed_with_hmac(json.dumps(f.jwk).encode()),
    "HS256 with a compact JWK": lambda f: f.signed_with_hmac(json.dumps(f.jwk, separators=(",", ":")).encode()),
    "HS256 with an empty key": lambda f: f.signed_with_hmac(b""),
    "alg swapped to ES384": lambda f: f.signed_by_server({"alg": "ES384"}),
    "alg swapped to RS256": lambda f: f.signed_by_server({"alg": "RS256"}),
    "alg swapped to PS256": lambda f: f.signed_by_server({"alg": "PS256"}),
    "alg swapped to EdDSA": lambda f: f.signed_by_server({"alg": "EdDSA"}),
    "alg in lower case": lambda f: f.signed_by_server({"alg": "es256"}),
    "alg a list": lambda f: f.signed_by_server({"alg": ["ES256"]}),
    "an empty signature": lambda f: f.token.rpartition(".")[0] + ".",
    "a signature of zeros": lambda f: f.token.rpartition(".")[0] + "." + encode(bytes(64)),
    "a signature as DER": lambda f: f.token.rpartition(".")[0] + "." + encode(b"\x30\x06\x02\x01\x01\x02\x01\x01"),
    "key of the attacker": lambda f: f.signed_by_attacker(),
    "crit": lambda f: f.signed_by_server({"crit": ["exp"]}),
    "crit and b64": lambda f: f.signed_by_server({"b64": False, "crit": ["b64"]}),
    "zip": lambda f: f.signed_by_server({"zip": "DEF"}),
    "jku": lambda f: f.signed_by_attacker(jku="https://evil.example.com/jwks.json"),
    "jku with a valid signature": lambda f: f.signed_by_server({"jku": "https://evil.example.com/jwks.json"}),
    "jwk": lambda f: f.signed_by_attacker(jwk=f.key.as_dict(private=False)),
    "x5u": lambda f: f.signed_by_attacker(x5u="https://evil.example.com/cert.pem"),
    "x5c": lambda f: f.signed_by_attacker(x5c=X5C),
    "x5t": lambda f: f.signed_by_attacker(x5t="AAAA"),
    "typ of another token": lambda f: f.signed_by_server({"typ": "JWT"}),
    "kid missing": lambda f: f"{segment({'alg': 'ES256', 'typ': 'at+jwt'})}.{segment(f.claims)}.{f.signature}",
    "kid null": lambda f: f.signed_by_attacker(kid=None),
    "kid a number": lambda f: f.signed_by_attacker(kid=0),
    "kid a list": lambda f: f.signed_by_attacker(kid=[f.header["kid"]]),
    "kid an object": lambda f: f.signed_by_attacker(kid={"$ne": ""}),
    "JWE for the public key": lambda f: encrypted(f, "ECDH-ES"),
    "JWE with a secret of the attacker": lambda f: encrypted(f, "dir"),
    "JWS as JSON": lambda f: json.dumps({"payload": segment(f.claims), "signatures": [{"signature": f.signature}]}),
    "iss of another server": lambda f: f.signed_by_server(claims={"iss": "https://evil.example.com"}),
    "aud of another server": lambda f: f.signed_by_server(claims={"aud": "https://evil.example.com"}),
    "aud a list": lambda f: f.signed_by_server(claims={"aud": [f.claims["aud"], "https://evil.example.com"]}),
    "exp in the past": lambda f: f.signed_by_server(claims={"exp": NOW - 1}),
    "exp not a number": lambda f: f.signed_by_server(claims={"exp": "9999999999"}),
    "exp far too large": lambda f: f.signed_by_attacker({"exp": 10**400}),
    "iat in the future": lambda f: f.signed_by_server(claims={"iat": NOW + 3600, "exp": NOW + 7200}),
    "sub null": lambda f: f.signed_by_server(claims={"sub": None}),
    "claims as a list": lambda f: f"{segment(f.header)}.{encode(b'[]')}.{f.signature}",
    "claims nested too deeply": lambda f: f"{segment(f.header)}.{encode(b'[' * 2000)}.{f.signature}",
    "a refresh token": lambda f: f.refresh_token,
    "an API key prefix only": lambda f: "kp",
    "the maximum header length": lambda f: f.token + "A" * 14_000,
}
"""Every kind of token that is refused because of its format, its signature or its content."""

UNKNOWN_KEY_IDS = [
    UNKNOWN_ID,
    "",
    "../../../../dev/null",
    "' OR 1=1 --",
    "kid\0",
    "%00",
    "a" * 2000,
    "https://evil.example.com/k",
]


@pytest_asyncio.fixture(loop_scope="session")
async def forger(stack: Stack, client: httpx.AsyncClient, alice: Caller) -> Forger:
    (jwk,) = (await client.get("/.well-known/jwks.json")).json()["keys"]
    return Forger(stack, alice, jwk)


async def test_the_fixture_records_queries(stack: Stack, queries: list[str], alice: Caller) -> None:
    assert (await stack.client(alice.access_token).get("/api/v1/users/me")).status_code == 200
    assert queries != []


@pytest.mark.parametrize("kind", FORGERIES)
async def test_a_forged_token_is_refused_without_a_query(
    stack: Stack, forger: Forger, queries: list[str], kind: str
) -> None:
    forgery = FORGERIES[kind](forger)
    assert forgery != forger.token
    response = await stack.client(forgery).get("/api/v1/users/me")
    assert_problem(response, 401, "unauthenticated")
    assert queries == []


async def test_a_token_of_one_megabyte_is_refused_without_a_query(
    stack: Stack, forger: Forger, queries: list[str]
) -> None:
    started = time.process_time()
    for token in (forger.token + "A" * 2**20, "." * 2**20, forger.signed_by_server(claims={"x": "A" * 2**20})):
        response = await stack.client(token).get("/api/v1/users/me")
        assert_problem(response, 431, "headers-too-large")
    assert queries == []
    assert time.process_time() - started < 1


async def test_unknown_key_ids_cause_at_most_one_query_a_second(
    stack: Stack, forger: Forger, queries: list[str]
) -> None:
    clients = [stack.client(forger.signed_by_attacker(kid=kid)) for kid in UNKNOWN_KEY_IDS * 10]
    started = time.monotonic()
    responses = await asyncio.gather(*[client.get("/api/v1/users/me") for client in clients])
    for response in responses:
        assert_problem(response, 401, "unauthenticated")
    assert len(queries) <= 1 + int(time.monotonic() - started)


async def test_a_forged_refresh_token_is_refused_without_a_query(
    stack: Stack, client: httpx.AsyncClient, forger: Forger, queries: list[str]
) -> None:
    token = forger.refresh_token
    changed = [token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :] for place in (0, 30, -10)]
    for forged in (*changed, "", token[:-1], token + "A", forger.token, "A" * 1000):
        response = await client.post("/api/v1/auth/refresh", json={"refresh_token": forged})
        assert_problem(response, 401, "unauthenticated")
    assert queries == []
