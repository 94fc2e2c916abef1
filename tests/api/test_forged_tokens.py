"""Forged credentials of every known kind are refused, and no question to the database is spent on them.

What each kind must look like to be refused is in `test_tokens.py`; here it counts that it costs nothing.
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
    """A token of ours in its parts, the published key, and a key of a stranger."""

    def __init__(self, stack: Stack, caller: Caller, jwk: JsonObject) -> None:
        self._stack = stack
        self.token = caller.access_token
        self.refresh_token = caller.refresh_token
        self.header, self.claims, self.signature = parts(caller.access_token)
        self.jwk = jwk
        self.key = ECKey.generate_key("P-256", private=True)

    def ours(self, header: JsonObject | None = None, claims: JsonObject | None = None) -> str:
        """Signed with the server's own key: only what it says is wrong."""
        return signed_by_us(self._stack, self.header | (header or {}), self.claims | (claims or {}))

    def theirs(self, claims: JsonObject | None = None, **header: Any) -> str:
        """Signed with the stranger's key."""
        signed = f"{segment(self.header | header)}.{segment(self.claims | (claims or {}))}"
        return f"{signed}.{encode(JWSRegistry.algorithms['ES256'].sign(signed.encode(), self.key))}"

    def shared(self, secret: bytes) -> str:
        """Signed with what is public, as if that were a shared secret."""
        signed = f"{segment(self.header | {'alg': 'HS256'})}.{segment(self.claims)}"
        return f"{signed}.{encode(hmac.digest(secret, signed.encode(), hashlib.sha256))}"

    @property
    def public(self) -> ECKey:
        """The published key, for any use."""
        return ECKey.import_key({name: self.jwk[name] for name in ("kty", "crv", "x", "y")})


def encrypted(forger: Forger, algorithm: str) -> str:
    """A JWE around a token of ours, for the published key or for a secret of the forger."""
    key = forger.public if algorithm.startswith("ECDH") else OctKey.generate_key(256)
    header = {"alg": algorithm, "enc": "A256GCM", "kid": forger.header["kid"], "typ": "at+jwt", "cty": "JWT"}
    return jwe.encrypt_compact(header, forger.token.encode(), key, algorithms=[algorithm, "A256GCM"])


NOW = int(time.time())
X5C = ["MIIBszCCAVmgAwIBAgIUY"]
FORGERIES: dict[str, Callable[[Forger], str]] = {
    "alg none": lambda f: f"{segment(f.header | {'alg': 'none'})}.{segment(f.claims)}.",
    "alg NoNe with a signature": lambda f: f"{segment(f.header | {'alg': 'NoNe'})}.{segment(f.claims)}.{f.signature}",
    "alg missing": lambda f: f"{segment({'kid': f.header['kid'], 'typ': 'at+jwt'})}.{segment(f.claims)}.{f.signature}",
    "HS256 with the public key as PEM": lambda f: f.shared(f.public.as_pem(private=False)),
    "HS256 with the public key as DER": lambda f: f.shared(f.public.as_der(private=False)),
    "HS256 with the public key as JWK": lambda f: f.shared(json.dumps(f.jwk).encode()),
    "HS256 with a compact JWK": lambda f: f.shared(json.dumps(f.jwk, separators=(",", ":")).encode()),
    "HS256 with an empty key": lambda f: f.shared(b""),
    "alg swapped to ES384": lambda f: f.ours({"alg": "ES384"}),
    "alg swapped to RS256": lambda f: f.ours({"alg": "RS256"}),
    "alg swapped to PS256": lambda f: f.ours({"alg": "PS256"}),
    "alg swapped to EdDSA": lambda f: f.ours({"alg": "EdDSA"}),
    "alg in lower case": lambda f: f.ours({"alg": "es256"}),
    "alg a list": lambda f: f.ours({"alg": ["ES256"]}),
    "an empty signature": lambda f: f.token.rpartition(".")[0] + ".",
    "a signature of zeros": lambda f: f.token.rpartition(".")[0] + "." + encode(bytes(64)),
    "a signature as DER": lambda f: f.token.rpartition(".")[0] + "." + encode(b"\x30\x06\x02\x01\x01\x02\x01\x01"),
    "a stranger's key": lambda f: f.theirs(),
    "crit": lambda f: f.ours({"crit": ["exp"]}),
    "crit and b64": lambda f: f.ours({"b64": False, "crit": ["b64"]}),
    "zip": lambda f: f.ours({"zip": "DEF"}),
    "jku": lambda f: f.theirs(jku="https://evil.example.com/jwks.json"),
    "jku on our own signature": lambda f: f.ours({"jku": "https://evil.example.com/jwks.json"}),
    "jwk": lambda f: f.theirs(jwk=f.key.as_dict(private=False)),
    "x5u": lambda f: f.theirs(x5u="https://evil.example.com/cert.pem"),
    "x5c": lambda f: f.theirs(x5c=X5C),
    "x5t": lambda f: f.theirs(x5t="AAAA"),
    "typ of another token": lambda f: f.ours({"typ": "JWT"}),
    "kid missing": lambda f: f"{segment({'alg': 'ES256', 'typ': 'at+jwt'})}.{segment(f.claims)}.{f.signature}",
    "kid null": lambda f: f.theirs(kid=None),
    "kid a number": lambda f: f.theirs(kid=0),
    "kid a list": lambda f: f.theirs(kid=[f.header["kid"]]),
    "kid an object": lambda f: f.theirs(kid={"$ne": ""}),
    "JWE for the public key": lambda f: encrypted(f, "ECDH-ES"),
    "JWE with a secret of the forger": lambda f: encrypted(f, "dir"),
    "JWS as JSON": lambda f: json.dumps({"payload": segment(f.claims), "signatures": [{"signature": f.signature}]}),
    "iss of another server": lambda f: f.ours(claims={"iss": "https://evil.example.com"}),
    "aud of another server": lambda f: f.ours(claims={"aud": "https://evil.example.com"}),
    "aud a list": lambda f: f.ours(claims={"aud": [f.claims["aud"], "https://evil.example.com"]}),
    "exp in the past": lambda f: f.ours(claims={"exp": NOW - 1}),
    "exp not a number": lambda f: f.ours(claims={"exp": "9999999999"}),
    "exp beyond all numbers": lambda f: f.theirs({"exp": 10**400}),
    "iat in the future": lambda f: f.ours(claims={"iat": NOW + 3600, "exp": NOW + 7200}),
    "sub null": lambda f: f.ours(claims={"sub": None}),
    "claims in a list": lambda f: f"{segment(f.header)}.{encode(b'[]')}.{f.signature}",
    "claims nested endlessly": lambda f: f"{segment(f.header)}.{encode(b'[' * 2000)}.{f.signature}",
    "a refresh token": lambda f: f.refresh_token,
    "a prefix alone": lambda f: "kp",
    "as long as a header may be": lambda f: f.token + "A" * 14_000,
}
"""Every kind that is refused by its looks, its signature or what it says."""

TRICKY_KIDS = [
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


async def test_the_counter_counts(stack: Stack, queries: list[str], alice: Caller) -> None:
    assert (await stack.client(alice.access_token).get("/api/v1/users/me")).status_code == 200
    assert queries != []


@pytest.mark.parametrize("kind", FORGERIES)
async def test_a_forgery_is_refused_without_a_look_up(
    stack: Stack, forger: Forger, queries: list[str], kind: str
) -> None:
    forgery = FORGERIES[kind](forger)
    assert forgery != forger.token
    response = await stack.client(forgery).get("/api/v1/users/me")
    assert_problem(response, 401, "unauthenticated")
    assert queries == []


async def test_a_token_of_a_megabyte_is_refused_without_a_look_up(
    stack: Stack, forger: Forger, queries: list[str]
) -> None:
    started = time.process_time()
    for token in (forger.token + "A" * 2**20, "." * 2**20, forger.ours(claims={"x": "A" * 2**20})):
        response = await stack.client(token).get("/api/v1/users/me")
        assert_problem(response, 431, "headers-too-large")
    assert queries == []
    assert time.process_time() - started < 1


async def test_of_keys_that_nobody_knows_the_database_is_asked_once_a_second_at_most(
    stack: Stack, forger: Forger, queries: list[str]
) -> None:
    clients = [stack.client(forger.theirs(kid=kid)) for kid in TRICKY_KIDS * 10]
    started = time.monotonic()
    responses = await asyncio.gather(*[client.get("/api/v1/users/me") for client in clients])
    for response in responses:
        assert_problem(response, 401, "unauthenticated")
    assert len(queries) <= 1 + int(time.monotonic() - started)


async def test_a_forged_refresh_token_costs_no_look_up_either(
    stack: Stack, client: httpx.AsyncClient, forger: Forger, queries: list[str]
) -> None:
    token = forger.refresh_token
    changed = [token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :] for place in (0, 30, -10)]
    for forged in (*changed, "", token[:-1], token + "A", forger.token, "A" * 1000):
        response = await client.post("/api/v1/auth/refresh", json={"refresh_token": forged})
        assert_problem(response, 401, "unauthenticated")
    assert queries == []
