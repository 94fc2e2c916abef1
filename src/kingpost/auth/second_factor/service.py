"""The second factor: enrolment and removal."""

import io
from collections.abc import Sequence

import msgspec
import segno

from kingpost import audit, clock
from kingpost.accounts.users.store import UserStore
from kingpost.audit.entries import Action
from kingpost.auth.passwords.proof import Reauthentication
from kingpost.auth.revocations.store import RequireSession
from kingpost.auth.second_factor import recovery_codes, totp
from kingpost.auth.second_factor.codes import Codes
from kingpost.auth.second_factor.recovery_codes import RecoveryCodes
from kingpost.auth.second_factor.store import SecondFactor, SecondFactorStore
from kingpost.auth.second_factor.totp import TOTPSealer
from kingpost.auth.throttling.service import Throttle
from kingpost.mail import Messages, TemplateName
from kingpost.model import Context, Principal, User
from kingpost.problems import Conflict, Fault, Forbidden, InvalidRequest, NotFound, Unauthenticated
from kingpost.storage.effects import NO_EFFECTS, Effects


class Enrolment(msgspec.Struct, frozen=True):
    """The secret for an authenticator app: to type, as a URI, and as a QR code of the URI."""

    secret: str
    uri: str
    qr_svg: str


class SecondFactors:
    """Enrols and removes second factors."""

    def __init__(
        self,
        stored: SecondFactorStore,
        users: UserStore,
        sealer: TOTPSealer,
        recovery_codes: RecoveryCodes,
        codes: Codes,
        reauthentication: Reauthentication,
        throttle: Throttle,
        messages: Messages,
        issuer: str,
    ) -> None:
        """`issuer` is the name that apps show beside the account."""
        self._stored = stored
        self._users = users
        self._sealer = sealer
        self._recovery_codes = recovery_codes
        self._codes = codes
        self._reauthentication = reauthentication
        self._throttle = throttle
        self._messages = messages
        self._issuer = issuer

    async def find(self, user_id: str) -> SecondFactor | None:
        """Return the confirmed second factor of an account, which logins require, or None."""
        return await self._codes.find(user_id)

    async def begin(self, context: Context, password: str, otp: str | None) -> Enrolment:
        """Start an enrolment, replacing an unconfirmed one. Logins do not require it until `confirm`.

        The password is required, so that a stolen access token cannot be used to lock out the owner.

        Raises:
            InvalidRequest, Forbidden, RateLimited: the proof is missing or wrong, as for `Reauthentication.prove`.
            Conflict: the account has a confirmed second factor.
            Unauthenticated: the account is gone, or the caller's session ended meanwhile.
        """
        proof = await self._reauthentication.prove(context, password, otp)
        user = await self._users.find(context.caller.user_id)
        if user is None:
            raise Unauthenticated("The account is gone")
        secret = totp.new_secret()
        await self._stored.begin(user.id, self._sealer.seal(user.id, secret), clock.now(), proof)
        uri = totp.provisioning_uri(secret, user.email, self._issuer)
        return Enrolment(secret, uri, qr_svg(uri))

    async def confirm(self, context: Context, otp: str) -> Sequence[str]:
        """Enable the second factor with its first code, and return its recovery codes.

        Raises:
            Conflict: there is no enrolment, or it was confirmed or replaced concurrently.
            InvalidRequest: the code is wrong.
            RateLimited: there were too many wrong codes.
        """
        caller = context.caller
        factor = await self._stored.find(caller.user_id)
        user = await self._users.find(caller.user_id)
        if user is None or factor is None or factor.confirmed_at is not None:
            raise Conflict("There is no second factor to confirm: start with POST /auth/totp")
        # Rate-limited: otherwise an intruder with a stolen access token could guess the code of the owner's enrolment.
        async with self._throttle.code(user.id, context.origin.address) as attempt:
            step = self._codes.matching_step(user.id, factor.sealed, otp)
            if step is None:
                detail = "This is not the current code of the authenticator app"
                raise InvalidRequest.of(Fault(detail, "otp", pointer="/otp"))
            attempt.succeed()
        codes = recovery_codes.new_codes()
        hashes = [self._recovery_codes.hash(user.id, code) for code in codes]
        effects = self._effects(context, "second_factor.enabled", "second-factor-enabled", user)
        await self._stored.confirm(
            user.id, factor.sealed, step, hashes, clock.now(), [*effects, RequireSession(caller.own_session)]
        )
        return codes

    async def disable(self, context: Context, password: str, otp: str) -> None:
        """Remove the caller's own second factor.

        Raises:
            NotFound: the account has no second factor.
            InvalidRequest, Forbidden, RateLimited: the proof is missing or wrong, as for `Reauthentication.prove`.
            Unauthenticated: the caller's session ended meanwhile.
        """
        user_id = context.caller.user_id
        if await self.find(user_id) is None:
            raise _none()
        proof = await self._reauthentication.prove(context, password, otp)
        await self._remove(context, await self._users.find(user_id), proof)

    async def remove(self, context: Context, user_id: str) -> None:
        """Remove the second factor of a user who has lost it.

        Raises:
            NotFound: no account has this id, or it has no second factor.
            Forbidden: the caller is not an administrator; or the account is the caller's own, which requires
                `disable` with password and code.
        """
        user = await self._users.find(user_id)
        if user is None:
            raise NotFound()
        actor = context.actor
        if isinstance(actor, Principal):
            if not actor.is_admin:
                raise Forbidden("Only administrators can remove the second factor of another account")
            if actor.user_id == user_id:
                raise Forbidden("Remove your own second factor with DELETE /auth/totp")
        await self._remove(context, user)

    async def _remove(self, context: Context, user: User | None, proof: Effects = NO_EFFECTS) -> None:
        if user is None:
            raise NotFound()
        effects = self._effects(context, "second_factor.disabled", "second-factor-disabled", user)
        if not await self._stored.remove(user.id, [*effects, *proof]):
            raise _none()

    def _effects(self, context: Context, action: Action, template: TemplateName, user: User) -> Effects:
        """Return the effects of a change: an audit entry, and a mail to the owner."""
        entry = audit.entry(context, action, "user", user.id)
        return [entry, self._messages.job(template, user.email, user.id)]


def qr_svg(text: str) -> str:
    """Return a QR code as a complete SVG image. It has a white background, so that it is readable on dark pages."""
    image = io.BytesIO()
    code = segno.make_qr(text, error="m")
    code.save(image, kind="svg", xmldecl=False, nl=False, scale=4, light="#fff")
    return image.getvalue().decode()


def _none() -> NotFound:
    return NotFound("This account has no second factor")
