"""Access tokens: our tokens are accepted on every node, and every kind of forged token is refused."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import ECKey, OctKey

from kingpost import base64url, clock
from kingpost.auth.sessions.access_tokens import AccessTokens, VerifiedToken, VerifiedTokens
from kingpost.auth.signing_keys.ring import KeyRing, SigningKey
from kingpost.auth.signing_keys.store import SealedKey
from kingpost.model import Principal
from kingpost.problems import Unauthenticated
from kingpost.secret import MasterSecret
from kingpost.storage.effects import NO_EFFECTS, Effects
from tests import signatures

ISSUER = "https://api.kingpost.test"
USER, SESSION = "0193a1b2-0000-7000-8000-000000000001", "0193a1b2-0000-7000-8000-000000000002"
NOW = 1_795_343_730.5


class Stored:
    """A table of keys in memory that counts its lookups."""

    def __init__(self) -> None:
        self.keys: list[SealedKey] = []
        self.listed = 0

    async def list(self) -> Sequence[SealedKey]:
        self.listed += 1
        return list(self.keys)

    async def add_first(self, key: SealedKey) -> None:
        if not self.keys:
            self.keys.append(key)

    async def add_after(self, newest_id: str, key: SealedKey, effects: Effects = NO_EFFECTS) -> bool:
        raise NotImplementedError("rings never do")

    async def remove(self, key_id: str, effects: Effects = NO_EFFECTS, *, superseded_by: str | None = None) -> bool:
        raise NotImplementedError("rings never do")


class Clock:
    def __init__(self) -> None:
        self.seconds = NOW

    def __call__(self) -> float:
        return self.seconds


class Node:
    """The tokens of a server with everything they depend on, and helpers that forge tokens."""

    def __init__(self) -> None:
        self.stored = Stored()
        self.ring = KeyRing(self.stored, MasterSecret("one secret"))
        self.clock = Clock()
        self.tokens = AccessTokens(self.ring, ISSUER, lambda issuer: issuer == ISSUER, seconds=self.clock)
        asyncio.run(self.ring.load())
        self.key = self.ring.signing_key()
        self.looked_up = self.stored.listed

    def header(self, **changes: Any) -> dict[str, Any]:
        return changed({"alg": "ES256", "kid": self.key.id, "typ": "at+jwt"}, changes)

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {
            "iss": ISSUER, "aud": ISSUER, "sub": USER, "sid": SESSION, "client_id": "kingpost",
            "iat": int(NOW), "exp": int(NOW) + 600, "jti": clock.new_id()[0], "roles": ["user"],
        }  # fmt: skip
        return changed(claims, changes)

    def signed(self, header: Any, claims: Any, key: SigningKey | None = None) -> str:
        """A token with a valid signature over the given header and claims (text, bytes or a value)."""
        content = f"{segment(header)}.{segment(claims)}"
        return f"{content}.{base64url.encode(signatures.sign(key or self.key, content.encode()))}"

    def verify(self, token: str) -> VerifiedToken:
        return asyncio.run(self.tokens.verify(token))

    def refuses(self, token: str, *, lookups: int = 0) -> bool:
        """Return whether a token is refused after exactly this many lookups."""
        with pytest.raises(Unauthenticated):
            self.verify(token)
        return self.stored.listed - self.looked_up == lookups


def changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the values with changes and additions; those set to `...` are left out."""
    return {name: value for name, value in {**values, **changes}.items() if value is not ...}


def segment(value: Any) -> str:
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if not isinstance(value, bytes):
        value = json.dumps(value, separators=(",", ":")).encode()
    return base64url.encode(value)


@pytest.fixture
def node() -> Node:
    return Node()


# --- our tokens------------------------------------------------------------------------------------


def test_an_issued_token_is_verified(node: Node) -> None:
    verified = node.verify(node.tokens.issue(USER, SESSION, ("user", "admin")))
    principal = Principal(USER, SESSION, frozenset({"user", "admin"}))
    assert verified == VerifiedToken(principal, int(NOW) - 60, int(NOW) + 600, node.key.id)


def test_the_forging_helpers_can_create_valid_tokens(node: Node) -> None:
    """Without this test, the refusals below would be meaningless."""
    assert node.verify(node.signed(node.header(), node.claims())).principal.user_id == USER


def test_a_token_has_the_profile_of_rfc_9068(node: Node) -> None:
    header, claims, _ = node.tokens.issue(USER, SESSION, ("user",)).split(".")
    assert json.loads(base64url.decode(header)) == {"alg": "ES256", "kid": node.key.id, "typ": "at+jwt"}
    payload = json.loads(base64url.decode(claims))
    assert uuid.UUID(payload.pop("jti")).version == 7
    assert payload == {
        "iss": ISSUER, "aud": ISSUER, "sub": USER, "sid": SESSION, "client_id": "kingpost",
        "iat": int(NOW), "exp": int(NOW) + 600, "roles": ["user"],
    }  # fmt: skip


def test_another_library_verifies_a_token_with_the_jwks(node: Node) -> None:
    keys = jwt.PyJWKSet.from_dict(json.loads(json.dumps(node.ring.jwks())))
    token = node.tokens.issue(USER, SESSION, ("user",))
    # The clock of the node is fixed, that of the library is not.
    options: jwt.types.Options = {"verify_exp": False}
    decoded = jwt.decode_complete(
        token, keys[node.key.id], algorithms=["ES256"], audience=ISSUER, issuer=ISSUER, options=options
    )
    assert (decoded["header"]["typ"], decoded["payload"]["sub"]) == ("at+jwt", USER)
    changed = token.rpartition(".")[0] + "." + base64url.encode(b"\x01" * 64)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(changed, keys[node.key.id], algorithms=["ES256"], audience=ISSUER, options=options)


def test_every_token_is_different(node: Node) -> None:
    assert node.tokens.issue(USER, SESSION, ()) != node.tokens.issue(USER, SESSION, ())


def test_another_node_verifies_a_token() -> None:
    one, other = Node(), Node()
    other.stored.keys.append(one.stored.keys[0])
    token = one.tokens.issue(USER, SESSION, ("user",))
    assert other.verify(token).principal.user_id == USER
    assert other.stored.listed == other.looked_up + 1


def test_other_addresses_of_the_server_are_valid_issuers(node: Node) -> None:
    local = AccessTokens(node.ring, "http://127.0.0.1:8000", lambda _: True, seconds=node.clock)
    assert asyncio.run(local.verify(node.tokens.issue(USER, SESSION, ()))).principal.user_id == USER
    assert node.refuses(local.issue(USER, SESSION, ()))


def test_the_lifetime_is_configurable(node: Node) -> None:
    tokens = AccessTokens(node.ring, ISSUER, lambda _: True, 30, seconds=node.clock)
    assert tokens.lifetime == 30
    assert node.verify(tokens.issue(USER, SESSION, ())).expires_at == int(NOW) + 30


def test_unknown_claims_are_ignored(node: Node) -> None:
    """RFC 7519, section 4: what is not understood is ignored. Nodes of two versions can run at the same time."""
    assert node.verify(node.signed(node.header(), node.claims(acr="mfa"))).principal.user_id == USER


# --- form ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", ".", "..", "...", "a.b.c", "a.b", "kp_secret", "\x00", "é.é.é", "\ud800.a.b"])
def test_a_malformed_token_is_refused(node: Node, token: str) -> None:
    assert node.refuses(token)


@given(token=st.text(max_size=80) | st.lists(st.binary(max_size=40).map(base64url.encode)).map(".".join))
@example(token="e30.e30.")
def test_any_other_text_is_refused(token: str) -> None:
    assert SHARED.refuses(token)


@given(claims=st.binary(max_size=60) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_arbitrary_claims_with_a_valid_signature_are_refused(claims: bytes | str) -> None:
    assert SHARED.refuses(SHARED.signed(SHARED.header(), claims))


def test_a_token_has_at_most_four_kilobytes(node: Node) -> None:
    def token_of(padding: int) -> str:
        return node.signed(node.header(), node.claims(jti="x" * padding))

    padding = 2000
    while len(token_of(padding + 1)) <= 4096:
        padding += 1
    assert node.verify(token_of(padding)).principal.user_id == USER
    assert node.refuses(token_of(padding + 4))
    assert node.refuses("." * 10_000_000)


def test_a_token_has_three_parts(node: Node) -> None:
    token = node.tokens.issue(USER, SESSION, ())
    header, claims, signature = token.split(".")
    for other in (
        f"{header}.{claims}", f"{token}.", f".{token}", f"{token}.{signature}", f"{header}..{signature}",
        f"{header}.{claims}.", f".{claims}.{signature}",
    ):  # fmt: skip
        assert node.refuses(other)


def test_a_token_has_one_spelling(node: Node) -> None:
    token = node.tokens.issue(USER, SESSION, ())
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [token[:-1] + char for char in alphabet if char != token[-1]]
    others += [token + "==", token + "\n", " " + token, token.replace(".", "=.", 1), token.replace(".", ".\n", 1)]
    assert all(node.refuses(other) for other in others)


@pytest.mark.parametrize(
    "header",
    [
        '{"alg":"ES256","kid":"KID","typ":"at+jwt","kid":"KID"}',
        '{"alg":"none","alg":"ES256","kid":"KID","typ":"at+jwt"}',
        '{"alg":"ES256","kid":"KID","typ":"at+jwt","typ":"at+jwt"}',
        '{"alg": "ES256", "kid": "KID", "typ": "at+jwt"}',
        '{"kid":"KID","alg":"ES256","typ":"at+jwt"}',
        '{"alg":"\\u0045S256","kid":"KID","typ":"at+jwt"}',
        '\ufeff{"alg":"ES256","kid":"KID","typ":"at+jwt"}',
        '{"alg":"ES256","kid":"KID","typ":"at+jwt"} ',
        '["ES256","KID","at+jwt"]',
        "null",
        "",
        "[" * 2500,
    ],
)
def test_a_header_has_one_spelling(node: Node, header: str) -> None:
    assert node.refuses(node.signed(header.replace("KID", node.key.id), node.claims()))


@pytest.mark.parametrize("claims", ["", "null", "[]", "{}", "{", b"\xff", "[" * 2500, '{"a":' * 400, "\ud800"])
def test_claims_must_be_an_object(node: Node, claims: str | bytes) -> None:
    assert node.refuses(node.signed(node.header(), claims))


def test_deeply_nested_claims_cause_no_overflow(node: Node) -> None:
    claims = json.dumps(node.claims())[:-1] + ',"x":' + "[" * 1100 + "]" * 1100 + "}"
    token = node.signed(node.header(), claims)
    assert len(token) <= 4096
    with contextlib.suppress(Unauthenticated):
        node.verify(token)


# --- header ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False, "crit": ["b64"]},
        {"b64": False},
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/cert.pem"},
        {"x5c": ["MIIB"]},
        {"x5t": "abc"},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"enc": "A256GCM"},
        {"typ": "JWT"},
        {"typ": "at+JWT"},
        {"typ": "application/at+jwt"},
        {"typ": ...},
        {"typ": None},
        {"kid": ...},
        {"kid": 7},
        {"alg": ...},
        {"alg": "none"},
        {"alg": "None"},
        {"alg": ""},
        {"alg": "es256"},
        {"alg": "ES384"},
        {"alg": "HS256"},
        {"alg": "RS256"},
        {"alg": ["ES256"]},
    ],
)
def test_a_validly_signed_token_with_another_header_is_refused(node: Node, changes: dict[str, Any]) -> None:
    assert node.refuses(node.signed(node.header(**changes), node.claims()))


def test_a_key_in_the_header_is_not_used(node: Node) -> None:
    mine = SigningKey.generate()
    assert node.refuses(node.signed(node.header(jwk=mine.public_jwk()), node.claims(), mine))
    assert node.refuses(node.signed(node.header(kid=mine.id, jwk=mine.public_jwk()), node.claims(), mine))


@pytest.mark.parametrize("algorithm", ["none", "NO_EFFECTS", "None", "nOnE", "ES256"])
def test_an_unsigned_token_is_refused(node: Node, algorithm: str) -> None:
    assert node.refuses(f"{segment(node.header(alg=algorithm))}.{segment(node.claims())}.")


def test_the_public_key_is_not_accepted_as_an_hmac_secret(node: Node) -> None:
    public = signatures.private_half(node.key).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    jwk = json.dumps(node.key.public_jwk()).encode()
    for secret in (pem, pem.strip(), der, jwk, b""):
        for algorithm in ("HS256", "ES256"):
            content = f"{segment(node.header(alg=algorithm))}.{segment(node.claims())}"
            tag = hmac.digest(secret, content.encode(), hashlib.sha256)
            assert node.refuses(f"{content}.{base64url.encode(tag)}")
            assert node.refuses(f"{content}.{base64url.encode(tag + tag)}")


def test_an_encrypted_token_is_refused(node: Node) -> None:
    shared = jwe.encrypt_compact(
        {"alg": "dir", "enc": "A256GCM", "kid": node.key.id, "typ": "at+jwt"},
        json.dumps(node.claims()),
        OctKey.import_key(b"k" * 32),
    )
    agreed = jwe.encrypt_compact(
        {"alg": "ECDH-ES", "enc": "A256GCM", "kid": node.key.id, "typ": "at+jwt"},
        json.dumps(node.claims()),
        ECKey.import_key(dict(node.key.public_jwk()) | {"use": "enc", "alg": "ECDH-ES"}),
    )
    assert node.refuses(shared)
    assert node.refuses(agreed)


# --- signature -------------------------------------------------------------------------------------


def test_a_changed_token_is_refused(node: Node) -> None:
    header, _, signature = node.tokens.issue(USER, SESSION, ("user",)).split(".")
    assert node.refuses(f"{header}.{segment(node.claims(roles=['admin']))}.{signature}")


@pytest.mark.parametrize("signature", [b"", b"\x00" * 64, b"\xff" * 64, b"\x00" * 63, b"\x00" * 65, b"\x01" * 70])
def test_an_invalid_signature_is_refused(node: Node, signature: bytes) -> None:
    assert node.refuses(f"{segment(node.header())}.{segment(node.claims())}.{base64url.encode(signature)}")


def test_a_flipped_bit_is_refused(node: Node) -> None:
    head, _, last = node.tokens.issue(USER, SESSION, ()).rpartition(".")
    for place in range(64):
        signature = bytearray(base64url.decode(last))
        signature[place] ^= 1
        assert node.refuses(f"{head}.{base64url.encode(bytes(signature))}")


def test_a_foreign_key_with_our_key_id_is_refused(node: Node) -> None:
    assert node.refuses(node.signed(node.header(), node.claims(), SigningKey.generate()))


def test_an_unknown_key_causes_one_lookup(node: Node) -> None:
    mine = SigningKey.generate()
    token = node.signed(node.header(kid=mine.id), node.claims(), mine)
    assert node.refuses(token, lookups=1)


# --- claims ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"iss": "https://evil.example", "aud": "https://evil.example"},
        {"aud": "https://evil.example"},
        {"aud": [ISSUER]},
        {"aud": [ISSUER, "https://evil.example"]},
        {"iss": ISSUER + "/", "aud": ISSUER + "/"},
        {"exp": int(NOW)},
        {"exp": int(NOW) - 1},
        {"exp": 0},
        {"exp": -1},
        {"exp": str(int(NOW) + 600)},
        {"exp": int(NOW) + 600.5},
        {"exp": True},
        {"exp": None},
        {"iat": int(NOW) + 120},
        {"iat": 10**18},
        {"iat": "now"},
        {"sub": 7},
        {"sub": None},
        {"sid": ["a"]},
        {"client_id": 7},
        {"jti": {}},
        {"roles": "admin"},
        {"roles": [1]},
        {"roles": None},
        *({name: ...} for name in ("iss", "aud", "sub", "sid", "client_id", "iat", "exp", "jti", "roles")),
    ],
)
def test_a_validly_signed_token_with_other_claims_is_refused(node: Node, changes: dict[str, Any]) -> None:
    assert node.refuses(node.signed(node.header(), node.claims(**changes)))


def test_invalid_claims_are_refused_without_a_lookup(node: Node) -> None:
    mine = SigningKey.generate()
    for changes in ({"exp": int(NOW) - 1}, {"iss": "https://evil.example", "aud": "https://evil.example"}):
        assert node.refuses(node.signed(node.header(kid=mine.id), node.claims(**changes), mine))


def test_a_token_expires_to_the_second(node: Node) -> None:
    token = node.tokens.issue(USER, SESSION, ())
    node.clock.seconds = int(NOW) + 599.9
    node.verify(token)
    node.clock.seconds = int(NOW) + 600.0
    with pytest.raises(Unauthenticated, match="expired"):
        node.verify(token)


def test_a_node_with_a_slightly_slow_clock_accepts_a_token(node: Node) -> None:
    token = node.tokens.issue(USER, SESSION, ())
    node.clock.seconds -= 30
    assert node.verify(token).principal.user_id == USER


def test_refusals_do_not_reveal_the_token(node: Node) -> None:
    with pytest.raises(Unauthenticated) as caught:
        node.verify("secret.secret.secret")
    assert "secret" not in caught.value.detail
    assert caught.value.__cause__ is None


# --- the cache -------------------------------------------------------------------------------------


def verified_until(expires_at: float, key_id: str = "key") -> VerifiedToken:
    return VerifiedToken(Principal(USER, SESSION, frozenset({"user"})), 0, expires_at, key_id)


def test_a_verified_token_is_cached_until_it_expires() -> None:
    seconds = Clock()
    tokens = VerifiedTokens(seconds=seconds)
    verified = verified_until(NOW + 10)
    assert tokens.remembered("token") is None
    tokens.remember("token", verified)
    assert tokens.remembered("token") is verified
    seconds.seconds = NOW + 9.9
    assert tokens.remembered("token") is verified
    seconds.seconds = NOW + 10
    assert tokens.remembered("token") is None


def test_a_cached_token_of_a_clock_that_was_ahead_is_not_valid_until_then() -> None:
    seconds, year = Clock(), 365 * 86400
    tokens = VerifiedTokens(seconds=seconds)
    seconds.seconds = NOW + year
    issued = int(NOW) + year
    tokens.remember("token", VerifiedToken(verified_until(0).principal, issued - 60, issued + 600, "key"))
    assert tokens.remembered("token") is not None
    for ahead, is_valid in ((year, False), (61, False), (60, True), (0, True), (-599, True), (-600, False)):
        seconds.seconds = issued - ahead
        assert (tokens.remembered("token") is not None) is is_valid, ahead


def test_the_cache_is_bounded_and_evicts_the_oldest_token_first() -> None:
    tokens = VerifiedTokens(3, seconds=Clock())
    for name in "abcd":
        tokens.remember(name, verified_until(NOW + 10))
        tokens.remember(name, verified_until(NOW + 10))
    assert [name for name in "abcd" if tokens.remembered(name)] == ["b", "c", "d"]
    assert len(tokens) == 3


def test_expired_tokens_are_evicted_before_the_cache_is_full() -> None:
    seconds = Clock()
    tokens = VerifiedTokens(1000, seconds=seconds)
    for n in range(100):
        tokens.remember(f"old {n}", verified_until(NOW + 10))
    seconds.seconds += 20
    for n in range(50):
        tokens.remember(f"new {n}", verified_until(NOW + 60))
    assert len(tokens) == 50


def test_only_the_tokens_of_the_given_key_are_evicted() -> None:
    tokens = VerifiedTokens(seconds=Clock())
    for name in "abcd":
        tokens.remember(name, verified_until(NOW + 10, key_id=f"key of {name}"))
    tokens.forget({"key of a", "key of c", "key of nothing"})
    assert [name for name in "abcd" if tokens.remembered(name)] == ["b", "d"]


def test_the_check_of_a_cached_token_takes_microseconds() -> None:
    """The budget is a microsecond; the bound leaves room for slow machines."""
    tokens = VerifiedTokens()
    tokens.remember("x" * 600, verified_until(time.time() + 600))
    began = time.thread_time()
    for _ in range(10_000):
        tokens.remembered("x" * 600)
    assert (time.thread_time() - began) / 10_000 < 20e-6


SHARED = Node()
"""For hypothesis, which needs one node for all its examples."""
