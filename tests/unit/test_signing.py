"""Signing keys: sealed at rest, and the same key ring on every node."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.errors import JoseError

from kingpost import base64url, clock
from kingpost.auth.signing_keys.ring import PUBLISHED_BEFORE_USE, KeyRing, SigningKey, SigningKeyError, WrongSecret
from kingpost.auth.signing_keys.store import SealedKey
from kingpost.problems import Unavailable
from kingpost.secret import MasterSecret
from kingpost.storage.effects import NO_EFFECTS, Effects
from tests import signatures

SECRET = MasterSecret("one secret")
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Stored:
    """A table of keys in memory that can be slow, can fail, and counts its lookups."""

    def __init__(self) -> None:
        self.keys: list[SealedKey] = []
        self.listed = 0
        self.down = False

    async def list(self) -> Sequence[SealedKey]:
        self.listed += 1
        await asyncio.sleep(0.001)
        if self.down:
            raise Unavailable("The database does not answer")
        return sorted(self.keys, key=lambda key: key.created_at)

    async def add_first(self, key: SealedKey) -> None:
        await asyncio.sleep(0.001)
        if not self.keys:
            self.keys.append(key)

    async def add_after(self, newest_id: str, key: SealedKey, effects: Effects = NO_EFFECTS) -> bool:
        raise NotImplementedError("rings never do")

    async def remove(self, key_id: str, effects: Effects = NO_EFFECTS, *, superseded_by: str | None = None) -> bool:
        raise NotImplementedError("rings never do")


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def key_of_age(seconds: float) -> SigningKey:
    return SigningKey(clock.new_id()[0], clock.after(-seconds), ec.generate_private_key(ec.SECP256R1()))


async def ring_of(*keys: SigningKey) -> KeyRing:
    stored = Stored()
    stored.keys = [key.seal(SECRET) for key in keys]
    ring = KeyRing(stored, SECRET)
    await ring.load()
    return ring


# --- keys ------------------------------------------------------------------------------------------


def header_of(key: SigningKey) -> dict[str, Any]:
    return {"alg": "ES256", "kid": key.id, "typ": "at+jwt"}


def head(header: dict[str, Any], payload: bytes = b"message") -> str:
    """The part of a JWS that is signed."""
    return f"{base64url.encode(json.dumps(header).encode())}.{base64url.encode(payload)}"


def verifies(key: SigningKey, signature: bytes) -> bool:
    """Return whether a key accepts a signature of `b"message"`."""
    return key.verify(f"{head(header_of(key))}.{base64url.encode(signature)}")


def signature_by(key: SigningKey) -> bytes:
    """A valid signature of `b"message"`."""
    return signatures.sign(key, head(header_of(key)).encode())


def test_a_key_verifies_its_own_signature() -> None:
    key = SigningKey.generate()
    token = key.sign(header_of(key), b"message")
    signature = base64url.decode(token.rpartition(".")[2])
    assert len(signature) == 64
    assert key.verify(token)
    assert not key.verify(f"{head(header_of(key), b'another')}.{base64url.encode(signature)}")
    assert not SigningKey.generate().verify(token)


def test_another_library_verifies_the_signature_of_a_key() -> None:
    key = SigningKey.generate()
    token = key.sign(header_of(key), b"message")
    found = jwt.PyJWS().decode_complete(token, jwt.PyJWK.from_dict(dict(key.public_jwk())), algorithms=["ES256"])
    assert (found["header"], found["payload"]) == (header_of(key), b"message")


def test_a_key_verifies_the_signature_of_another_library() -> None:
    """Without this test, the refusals below would be meaningless."""
    key = SigningKey.generate()
    assert verifies(key, signature_by(key))


@pytest.mark.parametrize(
    "change",
    [
        *({"alg": name} for name in ("none", "es256", "HS256", "RS256", "ES384", "ES256K", "EdDSA", "", 7, ["ES256"])),
        *({"crit": ["exp"]}, {"crit": []}, {"b64": False}, {"b64": True}, {"b64": False, "crit": ["b64"]}),
        *({"jwk": {"kty": "EC"}}, {"jku": "https://evil.example/jwks.json"}, {"x5c": ["MIIB"]}, {"zip": "DEF"}),
        *({"typ": 7}, {"kid": None}),
    ],
)
def test_a_key_verifies_only_its_algorithm_and_three_header_parameters(change: dict[str, Any]) -> None:
    key = SigningKey.generate()
    signed = head(header_of(key) | change)
    token = f"{signed}.{base64url.encode(signatures.sign(key, signed.encode()))}"
    assert not key.verify(token)


@pytest.mark.parametrize("change", [{"alg": "none"}, {"alg": "HS256"}, {"alg": "ES384"}, {"crit": ["exp"]}])
def test_a_key_signs_only_its_own_header(change: dict[str, Any]) -> None:
    key = SigningKey.generate()
    with pytest.raises(JoseError):
        key.sign(header_of(key) | change, b"message")


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"\x00" * 64,
        b"\xff" * 64,
        b"\x00" * 31 + b"\x01" + b"\x00" * 32,
        ORDER.to_bytes(32) * 2,
        b"\x00" * 63,
        b"\x00" * 65,
    ],
)
def test_an_invalid_signature_is_refused(signature: bytes) -> None:
    assert not verifies(SigningKey.generate(), signature)


def test_a_signature_has_a_fixed_length() -> None:
    """Leading zeros do not change the two numbers, so the signature would have a second spelling."""
    key = SigningKey.generate()
    signature = signature_by(key)
    assert not verifies(key, signature[:32] + b"\x00" + signature[32:])


def test_a_der_signature_is_refused() -> None:
    key = SigningKey.generate()
    der = signatures.private_half(key).sign(head(header_of(key)).encode(), ec.ECDSA(SHA256()))
    assert not verifies(key, der)


def test_the_public_jwk_is_complete_and_has_no_private_part() -> None:
    key = SigningKey.generate()
    jwk = key.public_jwk()
    assert set(jwk) == {"kid", "use", "alg", "kty", "crv", "x", "y"}
    assert (jwk["kid"], jwk["use"], jwk["alg"], jwk["kty"], jwk["crv"]) == (key.id, "sig", "ES256", "EC", "P-256")
    imported = cast(ec.EllipticCurvePublicKey, jwt.PyJWK.from_dict(dict(jwk)).key)
    assert imported.public_numbers() == signatures.private_half(key).public_key().public_numbers()


# --- seals -----------------------------------------------------------------------------------------


def test_seal_and_unseal() -> None:
    key = SigningKey.generate()
    again = SigningKey.unseal(key.seal(SECRET), MasterSecret("one secret"))
    assert (again.id, again.algorithm, again.created_at) == (key.id, "ES256", key.created_at)
    assert again.verify(key.sign(header_of(key), b"message"))
    assert key.verify(again.sign(header_of(key), b"message"))


def test_every_seal_is_different() -> None:
    key = SigningKey.generate()
    assert key.seal(SECRET).sealed != key.seal(SECRET).sealed


def test_the_private_key_is_not_in_the_seal() -> None:
    key = SigningKey.generate()
    number = signatures.private_half(key).private_numbers().private_value.to_bytes(32)
    assert number not in key.seal(SECRET).sealed


def test_another_secret_does_not_open_the_seal() -> None:
    with pytest.raises(WrongSecret) as caught:
        SigningKey.unseal(SigningKey.generate().seal(SECRET), MasterSecret("another secret"))
    assert str(caught.value) == "KINGPOST_SECRET cannot decrypt the signing keys in this database"


def test_a_seal_does_not_open_in_another_row() -> None:
    one, other = SigningKey.generate().seal(SECRET), SigningKey.generate().seal(SECRET)
    for changed in (
        msgspec.structs.replace(one, id=other.id),
        msgspec.structs.replace(one, algorithm="HS256"),
        msgspec.structs.replace(one, id=f"{one.id} ", algorithm="ES256"),
    ):
        with pytest.raises(WrongSecret):
            SigningKey.unseal(changed, SECRET)


def test_a_tampered_seal_does_not_open() -> None:
    sealed = SigningKey.generate().seal(SECRET)
    for place in range(len(sealed.sealed)):
        changed = bytearray(sealed.sealed)
        changed[place] ^= 1
        with pytest.raises(WrongSecret):
            SigningKey.unseal(msgspec.structs.replace(sealed, sealed=bytes(changed)), SECRET)


@pytest.mark.parametrize("length", [0, 5, 11, 12, 20, 27, 28])
def test_a_truncated_seal_does_not_open(length: int) -> None:
    sealed = SigningKey.generate().seal(SECRET)
    with pytest.raises(WrongSecret):
        SigningKey.unseal(msgspec.structs.replace(sealed, sealed=sealed.sealed[:length]), SECRET)


def test_a_key_of_a_newer_version_is_refused() -> None:
    pkcs8 = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    sealed = SECRET.sealer("signing-keys").seal("EdDSA\nk", pkcs8)
    with pytest.raises(SigningKeyError, match=r"^Signing keys for EdDSA require a newer version of Kingpost$"):
        SigningKey.unseal(SealedKey("k", "EdDSA", sealed, clock.now()), SECRET)


# --- the ring --------------------------------------------------------------------------------------


async def test_the_first_key_is_created_once() -> None:
    stored = Stored()
    first = KeyRing(stored, SECRET)
    await first.load()
    await first.load()
    second = KeyRing(stored, SECRET)
    await second.load()
    assert len(stored.keys) == 1
    assert first.signing_key().id == second.signing_key().id == stored.keys[0].id


async def test_nodes_that_start_concurrently_use_the_same_key() -> None:
    stored = Stored()
    rings = [KeyRing(stored, SECRET) for _ in range(8)]
    await asyncio.gather(*(ring.load() for ring in rings))
    assert len(stored.keys) == 1
    assert {ring.signing_key().id for ring in rings} == {stored.keys[0].id}
    assert len({str(ring.jwks()) for ring in rings}) == 1


async def test_the_wrong_secret_is_reported_at_the_start() -> None:
    stored = Stored()
    await KeyRing(stored, SECRET).load()
    with pytest.raises(WrongSecret):
        await KeyRing(stored, MasterSecret("another secret")).load()


async def test_the_newest_key_that_all_nodes_know_signs() -> None:
    ages = (30_000, 20_000, PUBLISHED_BEFORE_USE + 1, PUBLISHED_BEFORE_USE - 5, 0)
    keys = [key_of_age(age) for age in ages]
    assert (await ring_of(*keys)).signing_key().id == keys[2].id


async def test_a_single_key_signs_immediately_and_until_all_nodes_know_the_next() -> None:
    first, second = key_of_age(20), key_of_age(0)
    assert (await ring_of(first)).signing_key().id == first.id
    assert (await ring_of(first, second)).signing_key().id == first.id


async def test_keys_of_the_same_time_are_ordered_by_id() -> None:
    keys = [key_of_age(20_000) for _ in range(4)]
    moment = keys[0].created_at
    keys = [SigningKey(key.id, moment, signatures.private_half(key)) for key in keys]
    assert (await ring_of(*keys)).signing_key().id == (await ring_of(*reversed(keys))).signing_key().id


async def test_the_jwks_has_all_keys_oldest_first() -> None:
    keys = [key_of_age(20_000), key_of_age(0)]
    assert (await ring_of(*keys)).jwks() == {"keys": [key.public_jwk() for key in keys]}


async def test_a_known_key_is_found_without_a_lookup() -> None:
    stored = Stored()
    ring = KeyRing(stored, SECRET)
    await ring.load()
    listed = stored.listed
    key = ring.signing_key()
    assert await ring.find(key.id) is key
    assert stored.listed == listed


async def test_a_key_that_another_node_added_is_found() -> None:
    stored = Stored()
    ring = KeyRing(stored, SECRET)
    await ring.load()
    known = ring.signing_key()
    added = SigningKey.generate()
    stored.keys.append(added.seal(SECRET))
    found = await ring.find(added.id)
    assert found is not None
    assert found.verify(added.sign(header_of(added), b"message"))
    assert await ring.find(known.id) is known


async def test_a_removed_key_is_removed_from_the_ring() -> None:
    removed, kept = key_of_age(30_000), key_of_age(20_000)
    stored = Stored()
    stored.keys = [removed.seal(SECRET), kept.seal(SECRET)]
    ring = KeyRing(stored, SECRET)
    await ring.load()
    stored.keys = stored.keys[1:]
    await ring.load()
    assert await ring.find(removed.id) is None


async def test_unknown_ids_cause_at_most_one_lookup_per_second() -> None:
    stored, monotonic = Stored(), Clock()
    ring = KeyRing(stored, SECRET, monotonic=monotonic)
    await ring.load()
    listed = stored.listed
    assert await asyncio.gather(*(ring.find(f"forged {n}") for n in range(50))) == [None] * 50
    assert stored.listed == listed + 1
    monotonic.seconds += 0.9
    assert await ring.find("forged") is None
    assert stored.listed == listed + 1
    monotonic.seconds += 0.2
    assert await ring.find("forged") is None
    assert stored.listed == listed + 2


async def test_an_outage_removes_no_key_and_causes_one_lookup_per_second() -> None:
    stored, monotonic = Stored(), Clock()
    ring = KeyRing(stored, SECRET, monotonic=monotonic)
    await ring.load()
    known = ring.signing_key()
    stored.down, listed = True, stored.listed
    outcomes = await asyncio.gather(*(ring.find(f"unknown {n}") for n in range(20)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    with pytest.raises(Unavailable):
        await ring.find("unknown")
    assert stored.listed == listed + 1
    assert await ring.find(known.id) is known
    stored.down = False
    monotonic.seconds += 1
    assert await ring.find("unknown") is None


async def test_a_cancelled_call_does_not_cancel_the_lookup_of_others() -> None:
    stored = Stored()
    ring = KeyRing(stored, SECRET)
    await ring.load()
    added = SigningKey.generate()
    stored.keys.append(added.seal(SECRET))
    first, second = (asyncio.create_task(ring.find(added.id)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    found = await second
    assert found is not None
    assert found.id == added.id


# --- changes on other nodes ------------------------------------------------------------------------


async def test_listeners_are_notified_of_removed_keys_only() -> None:
    removed, kept = key_of_age(30_000), key_of_age(20_000)
    stored = Stored()
    stored.keys = [removed.seal(SECRET), kept.seal(SECRET)]
    ring = KeyRing(stored, SECRET)
    gone: list[set[str]] = []
    ring.when_gone(lambda ids: gone.append(set(ids)))
    await ring.load()
    stored.keys.append(SigningKey.generate().seal(SECRET))
    await ring.load()
    assert gone == []
    stored.keys = stored.keys[1:]
    await ring.load()
    await ring.load()
    assert gone == [{removed.id}]


async def test_an_unchanged_key_is_not_opened_again() -> None:
    stored = Stored()
    ring = KeyRing(stored, SECRET)
    await ring.load()
    key = ring.signing_key()
    stored.keys.append(SigningKey.generate().seal(SECRET))
    await ring.load()
    assert ring.keys[0] is key
    assert len(ring.keys) == 2


async def test_a_late_lookup_does_not_restore_a_removed_key() -> None:
    class Late(Stored):
        """Answers the first lookup after the second one."""

        async def list(self) -> Sequence[SealedKey]:
            answer = await super().list()
            if self.listed == 2:
                await asyncio.sleep(0.05)
            return answer

    removed, kept = key_of_age(30_000), key_of_age(20_000)
    stored = Late()
    stored.keys = [removed.seal(SECRET), kept.seal(SECRET)]
    ring = KeyRing(stored, SECRET)
    await ring.load()
    late = asyncio.create_task(ring.load())
    await asyncio.sleep(0.01)
    stored.keys = stored.keys[1:]
    await ring.load()
    await late
    assert [key.id for key in ring.keys] == [kept.id]


async def test_an_unusable_key_does_not_block_changes_of_other_keys(
    caplog: pytest.LogCaptureFixture,
) -> None:
    removed, kept, added = key_of_age(30_000), key_of_age(20_000), key_of_age(10)
    stored = Stored()
    stored.keys = [removed.seal(SECRET), kept.seal(SECRET)]
    ring = KeyRing(stored, SECRET)
    await ring.load()
    foreign = key_of_age(5).seal(MasterSecret("another secret"))
    stored.keys = [kept.seal(SECRET), added.seal(SECRET), foreign]
    for _ in range(3):
        await ring.keep_up()
    assert [key.id for key in ring.keys] == [kept.id, added.id]
    expected = "a signing key cannot be used: KINGPOST_SECRET cannot decrypt the signing keys in this database"
    assert [record.getMessage() for record in caplog.records] == [expected]


async def test_the_ring_does_not_change_if_all_stored_keys_are_unusable() -> None:
    stored = Stored()
    ring = KeyRing(stored, SECRET)
    await ring.load()
    known = ring.signing_key()
    stored.keys = [key_of_age(5).seal(MasterSecret("another secret"))]
    with pytest.raises(WrongSecret):
        await ring.load()
    assert ring.signing_key() is known


async def test_a_key_with_a_changed_time_signs_by_the_new_time() -> None:
    signing, following = key_of_age(30_000), key_of_age(5)
    stored = Stored()
    stored.keys = [signing.seal(SECRET), following.seal(SECRET)]
    ring = KeyRing(stored, SECRET)
    await ring.load()
    assert ring.signing_key().id == signing.id
    earlier = clock.after(-PUBLISHED_BEFORE_USE - 5)
    stored.keys[1] = msgspec.structs.replace(stored.keys[1], created_at=earlier)
    await ring.load()
    assert ring.signing_key().id == following.id
