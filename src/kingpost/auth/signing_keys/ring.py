"""The keys that sign access tokens: asymmetric, sealed at rest, the same on every node."""

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
from kingpost.secret import BrokenSeal, MasterSecret

ALGORITHM = "ES256"
"""ECDSA on P-256 with SHA-256 (RFC 7518, section 3.4): the one asymmetric algorithm every JWT library knows."""

REGISTRY = jws.JWSRegistry(algorithms=[ALGORITHM])
"""Limits joserfc to ES256 and to the header parameters of our tokens, so no `crit`, `b64`, `jwk` or `jku`."""
REGISTRY.header_registry = {name: JWS_HEADER_REGISTRY[name] for name in ("alg", "kid", "typ")}

JWK_MEMBERS = ("kid", "use", "alg", "kty", "crv", "x", "y")
"""Members of a published key in the order of the JWK set, all of them public (RFC 7518, section 6.2.1)."""

PURPOSE = "signing-keys"
"""What the key that seals signing keys is derived for."""

PUBLISHED_BEFORE_USE = 600
"""Seconds for which a new key is only published before it signs, so that every cached JWKS holds it by then."""

RELOAD_EVERY = 1.0
"""Seconds between two look-ups of unknown keys: what forged key ids can cost the database."""

logger = logging.getLogger("kingpost.signing")


class SigningKeyError(Exception):
    """A key in the database cannot be used; the message is a sentence for the operator."""


class WrongSecret(SigningKeyError):
    """The master secret is not the one that the keys were sealed with, or a key was tampered with."""

    def __init__(self) -> None:
        super().__init__("KINGPOST_SECRET does not open the signing keys in this database")


class SigningKey:
    """A key pair that signs and verifies with ES256. Nothing in a token can select another algorithm."""

    algorithm = ALGORITHM

    def __init__(self, key_id: str, created_at: str, private_key: ec.EllipticCurvePrivateKey) -> None:
        self.id = key_id
        self.created_at = created_at
        parameters: KeyParameters = {"kid": key_id, "use": "sig", "alg": ALGORITHM}
        self._private = ECKey.import_key(private_key, parameters)
        self._public = ECKey.import_key(private_key.public_key(), parameters)

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new key with a new id."""
        return cls(*clock.new_id(), ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def unseal(cls, sealed: SealedKey, secret: MasterSecret) -> "SigningKey":
        """Open a key from the database.

        Raises:
            WrongSecret: it was sealed under another secret, for another id or algorithm, or was tampered with.
            SigningKeyError: it is for an algorithm that this version does not know.
        """
        try:
            pkcs8 = secret.sealer(PURPOSE).open(_context(sealed.id, sealed.algorithm), sealed.sealed)
        except BrokenSeal:
            raise WrongSecret from None
        private_key = load_der_private_key(pkcs8, password=None)
        if sealed.algorithm != ALGORITHM or not isinstance(private_key, ec.EllipticCurvePrivateKey):
            raise SigningKeyError(f"Signing keys for {sealed.algorithm} need a newer version of Kingpost")
        return cls(sealed.id, sealed.created_at, private_key)

    def seal(self, secret: MasterSecret) -> SealedKey:
        """Encrypt the key for the database: PKCS#8 in DER, bound to its id and algorithm."""
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
        return {name: jwk[name] for name in JWK_MEMBERS}


def _context(key_id: str, algorithm: str) -> str:
    """Return the context of a sealed key, so that it opens in no other row and for no other algorithm."""
    return f"{algorithm}\n{key_id}"


class KeyRing:
    """The keys of a running server, by id. All nodes hold the same ones and choose alike."""

    def __init__(
        self,
        stored: SigningKeyStore,
        secret: MasterSecret,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """An empty ring: `load` it before use. `monotonic` gives seconds."""
        self._stored = stored
        self._secret = secret
        self._monotonic = monotonic
        self._listed: Sequence[SealedKey] = ()
        self._keys: dict[str, SigningKey] = {}
        self._when_gone: list[Callable[[Collection[str]], None]] = []
        self._asked = self._answered = 0
        self._reload: asyncio.Task[None] | None = None
        self._reloaded_at = 0.0

    def when_gone(self, callback: Callable[[Collection[str]], None]) -> None:
        """Have something called with the ids of keys that are in the ring no longer."""
        self._when_gone.append(callback)

    async def load(self) -> None:
        """Take the keys from the database, and make the first one where there is none.

        Where nothing has changed since the last time this costs one short read. Nodes that start at once
        agree on one first key. Keys that can be used are taken even where another cannot.

        Raises:
            SigningKeyError: a key cannot be used (`WrongSecret`: the master secret does not open it). It is
                raised once, not again until the keys change.
            Unavailable: the database does not answer; the ring is as it was.
        """
        self._asked += 1
        question = self._asked
        sealed = await self._stored.list()
        if not sealed:
            await self._stored.add_first(SigningKey.generate().seal(self._secret))
            sealed = await self._stored.list()
        # An answer that comes late must not bring back what has gone meanwhile.
        if question > self._answered and sealed != self._listed:
            self._take(sealed)
        self._answered = max(question, self._answered)

    async def keep_up(self) -> None:
        """As `load`, for a server that runs: a key that cannot be used goes into the log and harms nothing else.

        Raises:
            Unavailable: the database does not answer; the ring is as it was.
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
        """The key to sign with: the newest that has been published for ten minutes, else the oldest."""
        now, keys = clock.now(), self.keys
        return next((key for key in reversed(keys) if self.signs_from(key) <= now), keys[0])

    def signs_from(self, key: SigningKey) -> str:
        """When a key begins to sign. The oldest has nothing to wait for: without it nobody would sign."""
        is_oldest = key.id == next(iter(self._keys))
        return key.created_at if is_oldest else clock.shifted(key.created_at, PUBLISHED_BEFORE_USE)

    async def find(self, key_id: str) -> SigningKey | None:
        """The key with this id, or None.

        For an unknown id the database is asked again, at most once a second however many ask.

        Raises:
            Unavailable: the id is unknown and the database does not answer.
        """
        key = self._keys.get(key_id)
        if key is None:
            await self._reload_now_and_then()
            key = self._keys.get(key_id)
        return key

    def holds(self, key_id: str) -> bool:
        """Whether a key is in the ring, as far as memory knows."""
        return key_id in self._keys

    def jwks(self) -> dict[str, list[DictKey]]:
        """Return the public halves of all keys, oldest first, as a JWK set (RFC 7517, section 5)."""
        return {"keys": [key.public_jwk() for key in self._keys.values()]}

    async def _reload_now_and_then(self) -> None:
        """Load again, unless that was done within the last second; then share its outcome, good or bad."""
        now = self._monotonic()
        if self._reload is None or (self._reload.done() and now - self._reloaded_at >= RELOAD_EVERY):
            self._reloaded_at = now
            self._reload = asyncio.create_task(self.keep_up())
        # Shielded, since a caller who gives up must not take the others' answer away.
        await asyncio.shield(self._reload)

    def _take(self, sealed: Sequence[SealedKey]) -> None:
        """Hold these keys and no others. Those already open are kept, for opening costs more than comparing."""
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
