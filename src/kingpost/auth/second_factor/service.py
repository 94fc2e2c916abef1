"""The second factor: enrolling, proving and removing it, and the codes for when it is lost."""

import io
import logging
import time
from collections.abc import Callable, Sequence

import msgspec
import segno

from kingpost import audit, clock
from kingpost.accounts.users.store import UserStore
from kingpost.audit.entries import Action
from kingpost.auth.passwords.proof import Reauthentication
from kingpost.auth.revocations.store import RequireSession
from kingpost.auth.second_factor import recovery_codes, totp
from kingpost.auth.second_factor.recovery_codes import RecoveryCodes
from kingpost.auth.second_factor.store import SecondFactor, SecondFactorStore
from kingpost.auth.second_factor.totp import TOTPSealer, UnreadableSecret
from kingpost.auth.throttling.service import Throttle
from kingpost.mail import Messages, TemplateName
from kingpost.model import Context, Principal, User
from kingpost.problems import Conflict, Fault, Forbidden, InvalidRequest, NotFound, Unauthenticated
from kingpost.storage.effects import Effects

logger = logging.getLogger("kingpost.second_factor")


class Enrolment(msgspec.Struct, frozen=True):
    """What an app needs to show codes: the secret to type, or the URI to scan."""

    secret: str
    uri: str
    qr_svg: str


class SecondFactors:
    """What callers may do with second factors, and whether a code is good."""

    def __init__(
        self,
        stored: SecondFactorStore,
        users: UserStore,
        sealer: TOTPSealer,
        codes: RecoveryCodes,
        reauthentication: Reauthentication,
        throttle: Throttle,
        messages: Messages,
        issuer: str,
        *,
        seconds: Callable[[], float] = time.time,
    ) -> None:
        """`issuer` is what apps show beside the account; `seconds` tells the time since 1970."""
        self._stored = stored
        self._users = users
        self._sealer = sealer
        self._codes = codes
        self._reauthentication = reauthentication
        self._throttle = throttle
        self._messages = messages
        self._issuer = issuer
        self._seconds = seconds

    async def find(self, user_id: str) -> SecondFactor | None:
        """The second factor that logins of an account must prove, or None."""
        factor = await self._stored.find(user_id)
        return None if factor is None or factor.confirmed_at is None else factor

    async def begin(self, context: Context, password: str | None) -> Enrolment:
        """Make a new secret. It asks nothing of logins before `confirm`, and replaces one that was not confirmed.

        A session that was started a while ago needs the password as well: who has stolen an access token must not
        lock out the owner.

        Raises:
            Forbidden: the password is wrong, or missing where it is needed.
            RateLimited: there were too many wrong ones.
            Conflict: the account has a second factor.
            Unauthenticated: the account is gone.
        """
        await self._reauthentication.prove_lately(context, password)
        user = await self._users.find(context.caller.user_id)
        if user is None:
            raise Unauthenticated("The account is gone")
        secret = totp.new_secret()
        await self._stored.begin(user.id, self._sealer.seal(user.id, secret), clock.now())
        uri = totp.provisioning_uri(secret, user.email, self._issuer)
        return Enrolment(secret, uri, qr_svg(uri))

    async def confirm(self, context: Context, otp: str) -> Sequence[str]:
        """Put the second factor into force, proved by its first code, and return its recovery codes.

        Raises:
            Conflict: nothing was begun, or it was confirmed or begun anew meanwhile.
            InvalidRequest: the code is wrong.
            RateLimited: there were too many wrong ones.
        """
        caller = context.caller
        factor = await self._stored.find(caller.user_id)
        user = await self._users.find(caller.user_id)
        if user is None or factor is None or factor.confirmed_at is not None:
            raise Conflict("There is nothing to confirm: begin with POST /auth/totp")
        # Limited too, or who stole an access token might confirm, by trying, what the owner has begun.
        async with self._throttle.code(user.id) as attempt:
            step = self._matching_step(factor, otp)
            if step is None:
                raise InvalidRequest.of(Fault("This is not the code that the app shows now", "otp", pointer="/otp"))
            attempt.succeed()
        codes = recovery_codes.new_codes()
        hashes = [self._codes.hash(user.id, code) for code in codes]
        told = self._told(context, "second_factor.enabled", "second-factor-enabled", user)
        await self._stored.confirm(
            user.id, factor.sealed, step, hashes, clock.now(), [*told, RequireSession(caller.own_session)]
        )
        return codes

    async def passes(self, context: Context, factor: SecondFactor, otp: str) -> bool:
        """Whether a code of the app or a recovery code is good. It is used up by that.

        Raises:
            RateLimited: there were too many wrong ones.
        """
        async with self._throttle.code(factor.user_id) as attempt:
            is_good = await self._use(context, factor, otp)
            if is_good:
                attempt.succeed()
            return is_good

    async def disable(self, context: Context, password: str, otp: str) -> None:
        """Remove the caller's own second factor.

        Raises:
            NotFound: there is none.
            Forbidden: the password or the code is wrong.
            RateLimited: there were too many wrong ones.
        """
        caller = context.caller
        factor = await self.find(caller.user_id)
        if factor is None:
            raise _none()
        await self._reauthentication.prove(context, password)
        if not await self.passes(context, factor, otp):
            await self._reauthentication.refuse(context, "second_factor")
            raise Forbidden("The code is wrong or has been used")
        await self._remove(context, await self._users.find(caller.user_id))

    async def remove(self, context: Context, user_id: str) -> None:
        """Remove the second factor of somebody who has lost it.

        Raises:
            NotFound: there is no such account, or it has none.
            Forbidden: the caller is no administrator, or it is the caller's own: that takes password and code.
        """
        user = await self._users.find(user_id)
        if user is None:
            raise NotFound()
        actor = context.actor
        if isinstance(actor, Principal):
            if not actor.is_admin:
                raise Forbidden("This is for administrators")
            if actor.user_id == user_id:
                raise Forbidden("Disable your own second factor with DELETE /auth/totp")
        await self._remove(context, user)

    async def _remove(self, context: Context, user: User | None) -> None:
        if user is None:
            raise NotFound()
        told = self._told(context, "second_factor.disabled", "second-factor-disabled", user)
        if not await self._stored.remove(user.id, told):
            raise _none()

    async def _use(self, context: Context, factor: SecondFactor, otp: str) -> bool:
        step = self._matching_step(factor, otp)
        if step is not None:
            return await self._stored.use_step(factor.user_id, factor.sealed, step)
        entry = audit.entry(context, "second_factor.recovery_code_used", "user", factor.user_id)
        code_hash = self._codes.hash(factor.user_id, otp)
        return await self._stored.use_recovery_code(factor.user_id, code_hash, [entry]) is not None

    def _matching_step(self, factor: SecondFactor, otp: str) -> int | None:
        try:
            secret = self._sealer.open(factor.user_id, factor.sealed)
        except UnreadableSecret as error:
            # No code is good then, but the recovery codes still are.
            logger.error("%s", error)
            return None
        return totp.matching_step(secret, otp, self._seconds())

    def _told(self, context: Context, action: Action, template: TemplateName, user: User) -> Effects:
        """The audit log's entry about a change, and the message to the account's owner."""
        entry = audit.entry(context, action, "user", user.id)
        return [entry, self._messages.job(template, user.email, user.id)]


def qr_svg(text: str) -> str:
    """A QR code as an SVG image that stands on its own: black on white, since a dark page would swallow it."""
    image = io.BytesIO()
    code = segno.make_qr(text, error="m")
    code.save(image, kind="svg", xmldecl=False, nl=False, scale=4, light="#fff")
    return image.getvalue().decode()


def _none() -> NotFound:
    return NotFound("This account has no second factor")
