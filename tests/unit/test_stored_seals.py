"""Data that an earlier release sealed, stored, signed or published can be read: same purposes, contexts and layout."""

import msgspec

from kingpost import base64url
from kingpost.auth.second_factor.totp import TOTPSealer
from kingpost.auth.signing_keys.ring import SigningKey
from kingpost.auth.signing_keys.store import SealedKey
from kingpost.jobs.sealing import JobSealer
from kingpost.jobs.store import SealedJob
from kingpost.secret import MasterSecret

SECRET = MasterSecret("a master secret of the year 2026")

# A token that the earlier release signed with the stored key, in its three parts.
HEADER = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjAxOTNhMWIyLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMSIsInR5cCI6ImF0K2p3dCJ9"
CLAIMS = (
    "eyJpc3MiOiJodHRwczovL2FwaS5raW5ncG9zdC50ZXN0IiwiYXVkIjoiaHR0cHM6Ly9hcGkua2luZ3Bvc3QudGVzdCIsInN1YiI6"
    "IjAxOTNhMWIyLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMSIsInNpZCI6IjAxOTNhMWIyLTAwMDAtNzAwMC04MDAwLTAwMDAw"
    "MDAwMDAwMiIsImNsaWVudF9pZCI6Imtpbmdwb3N0IiwiaWF0IjoxNzk1MzQzNzMwLCJleHAiOjE3OTUzNDQzMzAsImp0aSI6IjAx"
    "YTIxZTI5LTM4NTAtNzI4MC05MjM1LWY2NWM5YzE5ODlhNiIsInJvbGVzIjpbInVzZXIiXX0"
)
SIGNATURE = "ODbWm8O8zf9oKdJpwZEAdH9DOvKOcLg2hJLw-EOYMp6bWkFvORgvumrwX10e4YcDvPQdjumiMtVKAz2q44Gpcg"


class Payload(msgspec.Struct):
    email: str
    token: str


def test_a_stored_job_opens() -> None:
    sealed = bytes.fromhex(
        "c2c4a66af8073ad719992b74624b41f9cd4af6be667903777517017ca1f641d7883e0bfc22b348641d31c879a024a36982d2"
        "899bfe436105c28260f3528808954356f73c8470b5"
    )
    job = SealedJob("01a21e29-3850-7280-9235-f65bf1c82908", "send-mail", None, sealed, "2026-11-27T17:59:07.600Z")
    assert JobSealer(SECRET).open(job, Payload) == Payload("ada@example.com", "t0ken")


def test_a_stored_second_factor_opens() -> None:
    sealed = bytes.fromhex(
        "9d67fa73af26daec35164e9de81605e4fc9455327e1282be130feb5b392bccfa3ab66233218669b9e17be46bce698b24485f"
        "386150b7e5a34db8143a"
    )
    opened = TOTPSealer(SECRET).open("019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a", sealed)
    assert opened == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


def stored_key() -> SigningKey:
    sealed = bytes.fromhex(
        "81e02565fc455691fb75a9d2d99e4f7f11a42a47674aaae54e0a4eba4f651e96802b5b2cce77eeda3eb535f4d43933a706b8"
        "574083ea6c08daa414f8dfebe2144e8523fabae5f3a778743c9f5e3c04ccebc9deb9908f4cc959491615af7c7edfc42cec1e"
        "fdea1aefa7a38d718763d42cde7c2712dce998bd5c3e58b1d09aa340ff7ce692385c6d3ef8ba475c68acc99f13dcc419f020"
        "f1bb07297b56073f1c0980557d276e14"
    )
    stored = SealedKey("0193a1b2-0000-7000-8000-000000000001", "ES256", sealed, "2026-11-20T12:00:00.000000Z")
    return SigningKey.unseal(stored, SECRET)


def test_a_stored_signing_key_opens_with_its_published_jwk() -> None:
    assert msgspec.json.encode(stored_key().public_jwk()) == (
        b'{"kid":"0193a1b2-0000-7000-8000-000000000001","use":"sig","alg":"ES256","kty":"EC","crv":"P-256",'
        b'"x":"4XdyCPDgviTtSSW2QAOv8uft0duUR0H46-rtSZrb1k4","y":"wAmSYIf5vmS6rWDiJMPc7anLRNqeQVSlwqKcHxPraVg"}'
    )


def test_the_stored_key_verifies_its_token_and_signs_in_the_same_format() -> None:
    key = stored_key()
    assert key.verify(f"{HEADER}.{CLAIMS}.{SIGNATURE}")
    token = key.sign({"alg": "ES256", "kid": key.id, "typ": "at+jwt"}, base64url.decode(CLAIMS))
    assert token.startswith(f"{HEADER}.{CLAIMS}.")
    assert key.verify(token)
