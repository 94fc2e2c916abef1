"""The keys that sign access tokens: asymmetric, encrypted at rest, the same on every node."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import DictKey, ECKey, KeyParameters
from joserfc.registry import JWS_HEADER_REGISTRY, Header

from kingpost import clock
from kingpost.auth.signing_keys.store import SealedKey, SigningKeyStore
from kingpost.problems import OperatorError
from kingpost.secret import BrokenSeal, MasterSecret

ALGORITHM = "ES256"
"""ECDSA on P-256 with SHA-256 (RFC 7518, section 3.4), which all common JWT libraries support."""

REGISTRY = jws.JWSRegistry(algorithms=[ALGORITHM])
"""Limits joserfc to ES256 and to the header parameters of our tokens: it rejects `crit`, `b64`, `jwk` and `jku`."""
REGISTRY.header_registry = {name: JWS_HEADER_REGISTRY[name] for name in ("alg", "kid", "typ")}

JWK_FIELDS = ("kid", "use", "alg", "kty", "crv", "x", "y")
"""The fields of a published key, in order. All of them are public (RFC 7518, section 6.2.1)."""

PURPOSE = "signing-keys"
"""The purpose for which the encryption key is derived from the master secret."""

PUBLISHED_BEFORE_USE = 600
"""Seconds for which a new key is published before it signs. After that, every cached JWK set contains it."""

RELOAD_EVERY = 1.0
"""Minimum seconds between two look-ups of unknown keys, so that forged key ids do not load the database."""

logger = logging.getLogger("kingpost.signing")


class SigningKeyError(OperatorError):
    """A key in the database cannot be used."""


class WrongSecret(SigningKeyError):
    """The keys were encrypted with another master secret, or a key was tampered with."""

    def __init__(self) -> None:
        super().__init__("KINGPOST_SECRET cannot decrypt the signing keys in this database")


class SigningKey:
    """A key pair that signs and verifies with ES256. A token cannot select another algorithm."""

    algorithm = ALGORITHM

    def __init__(self, key_id: str, created_at: str, private_key: ec.EllipticCurvePrivateKey) -> None:
        self.id = key_id
        self.created_at = created_at
        parameters: KeyParameters = {"kid": key_id, "use": "sig", "alg": ALGORITHM}
        self._private = ECKey.import_key(private_key, parameters)
        self._public = ECKey.import_key(private_key.public_key(), parameters)

    @classmethod
    def generate(cls) -> "SigningKey":
        """Return a new key with a new id."""
        return cls(*clock.new_id(), ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def unseal(cls, sealed: SealedKey, secret: MasterSecret) -> "SigningKey":
        """Decrypt a key from the database.

        Raises:
            WrongSecret: the key was encrypted with another secret, for another id or algorithm, or was tampered with.
            SigningKeyError: this version does not support the key's algorithm.
        """
        try:
            pkcs8 = secret.sealer(PURPOSE).open(_context(sealed.id, sealed.algorithm), sealed.sealed)
        except BrokenSeal:
            raise WrongSecret from None
        private_key = load_der_private_key(pkcs8, password=None)
        if sealed.algorithm != ALGORITHM or not isinstance(private_key, ec.EllipticCurvePrivateKey):
            raise SigningKeyError(f"Signing keys for {sealed.algorithm} require a newer version of Kingpost")
        return cls(sealed.id, sealed.created_at, private_key)

    def seal(self, secret: MasterSecret) -> SealedKey:
        """Encrypt the key for the database, as PKCS#8 in DER. The result is bound to the id and the algorithm."""
        pkcs8 = self._private.as_der(private=True)
        sealed = secret.sealer(PURPOSE).seal(_context(self.id, self.algorithm), pkcs8)
        return SealedKey(self.id, self.algorithm, sealed, self.created_at)

    def sign(self, header: Header, payload: bytes) -> str:
        """Return a JWS in compact form (RFC 7515, section 7.1). Its header is written in the order of `header`."""
        return jws.serialize_compact(header, payload, self._private, registry=REGISTRY)

    def verify(self, token: str) -> bool:
        """Return whether this key made the signature of a JWS in compact form.

        The header must be an object that has been checked: joserfc raises a TypeError for some others.
        """
        try:
            jws.deserialize_compact(token, self._public, registry=REGISTRY)
        except JoseError:
            return False
        return True

    def public_jwk(self) -> DictKey:
        """Return the public half as a JSON Web Key (RFC 7517, section 4)."""
        jwk = self._public.as_dict(private=False)
        return {name: jwk[name] for name in JWK_FIELDS}


def _context(key_id: str, algorithm: str) -> str:
    """Return the context that binds an encrypted key to its row and algorithm."""
    return f"{algorithm}\n{key_id}"


class KeyRing:
    """The loaded keys of a running server, by id. All nodes have the same keys, and select the same one for signing."""

    def __init__(
        self,
        stored: SigningKeyStore,
        secret: MasterSecret,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create an empty ring; call `load` before use. `monotonic` returns seconds."""
        self._stored = stored
        self._secret = secret
        self._monotonic = monotonic
        self._listed: Sequence[SealedKey] = ()
        self._keys: dict[str, SigningKey] = {}
        self._when_gone: list[Callable[[Collection[str]], None]] = []
        self._last_query = self._last_answer = 0
        self._reload: asyncio.Task[None] | None = None
        self._reloaded_at = 0.0

    def when_gone(self, callback: Callable[[Collection[str]], None]) -> None:
        """Register a callback that gets the ids of keys when they are removed from the ring."""
        self._when_gone.append(callback)

    async def load(self) -> None:
        """Load the keys from the database, and create the first one if there is none.

        If nothing has changed since the last time, this costs one short read. Nodes that start concurrently agree on
        one first key. Usable keys are loaded even if another key cannot be used.

        Raises:
            SigningKeyError: a key cannot be used (`WrongSecret`: the master secret cannot decrypt it). This is raised
                once, and again only after the keys have changed.
            Unavailable: the database does not answer. The ring is unchanged.
        """
        self._last_query += 1
        query = self._last_query
        sealed = await self._stored.list()
        if not sealed:
            await self._stored.add_first(SigningKey.generate().seal(self._secret))
            sealed = await self._stored.list()
        # The answer to an older query must not bring back keys that have been removed since.
        if query > self._last_answer and sealed != self._listed:
            self._replace(sealed)
        self._last_answer = max(query, self._last_answer)

    async def keep_up(self) -> None:
        """Load the keys as `load` does, but only log a key that cannot be used. For a running server.

        Raises:
            Unavailable: the database does not answer. The ring is unchanged.
        """
        try:
            await self.load()
        except SigningKeyError as error:
            logger.error("a signing key cannot be used: %s", error)

    @property
    def keys(self) -> Sequence[SigningKey]:
        """All keys, oldest first."""
        return list(self._keys.values())

    def signing_key(self) -> SigningKey:
        """Return the key to sign with: the newest that was published long enough ago, else the oldest."""
        now, keys = clock.now(), self.keys
        return next((key for key in reversed(keys) if self.signs_from(key) <= now), keys[0])

    def signs_from(self, key: SigningKey) -> str:
        """Return the time from which a key signs. The oldest signs at once, because there is no other key before it."""
        is_oldest = key.id == next(iter(self._keys))
        return key.created_at if is_oldest else clock.shifted(key.created_at, PUBLISHED_BEFORE_USE)

    async def find(self, key_id: str) -> SigningKey | None:
        """Return the key with this id, or None.

        An unknown id reloads the keys from the database, at most once in `RELOAD_EVERY` seconds.

        Raises:
            Unavailable: the id is unknown, and the database does not answer.
        """
        key = self._keys.get(key_id)
        if key is None:
            await self._reload_throttled()
            key = self._keys.get(key_id)
        return key

    def holds(self, key_id: str) -> bool:
        """Return whether a key is loaded. This does not use the database."""
        return key_id in self._keys

    def jwks(self) -> dict[str, list[DictKey]]:
        """Return the public halves of all keys, oldest first, as a JWK set (RFC 7517, section 5)."""
        return {"keys": [key.public_jwk() for key in self._keys.values()]}

    async def _reload_throttled(self) -> None:
        """Reload the keys; within `RELOAD_EVERY` seconds of a reload, await or raise its outcome instead."""
        now = self._monotonic()
        if self._reload is None or (self._reload.done() and now - self._reloaded_at >= RELOAD_EVERY):
            self._reloaded_at = now
            self._reload = asyncio.create_task(self.keep_up())
        # Shielded: one caller's cancellation must not cancel the shared reload.
        await asyncio.shield(self._reload)

    def _replace(self, sealed: Sequence[SealedKey]) -> None:
        """Replace the loaded keys. Keys that are loaded already are reused, because decrypting is slow.

        Raises:
            SigningKeyError: a key cannot be used. The others are loaded.
        """
        known = {known.id: self._keys.get(known.id) for known in self._listed if known in sealed}
        keys: dict[str, SigningKey] = {}
        unusable: SigningKeyError | None = None
        for key in sorted(sealed, key=lambda key: (key.created_at, key.id)):
            try:
                keys[key.id] = known.get(key.id) or SigningKey.unseal(key, self._secret)
            except SigningKeyError as error:
                unusable = error
        if keys:
            gone = self._keys.keys() - keys.keys()
            self._listed, self._keys = sealed, keys
            if gone:
                for callback in self._when_gone:
                    callback(gone)
        if unusable is not None:
            raise unusable
