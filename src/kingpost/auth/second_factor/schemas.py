"""Request and response bodies of the second factor."""

from typing import Annotated

import msgspec
from msgspec import Meta

from kingpost.http.app.fields import AnyPassword, OneTimeCode, ProofCode, Time


class SecondFactorState(msgspec.Struct, frozen=True):
    """The state of the second factor. If it is enabled, logins require a code."""

    enabled: bool
    recovery_codes_left: Annotated[int, Meta(ge=0, examples=[10])]


class BeginSecondFactor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Proof of ownership."""

    password: AnyPassword
    otp: ProofCode | None = None


class EnrolmentBody(msgspec.Struct, frozen=True):
    """A new secret, shown only once. Logins require it after it was confirmed with the first code."""

    secret: Annotated[str, Meta(description="To type, in base32.", examples=["JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"])]
    uri: Annotated[
        str,
        Meta(
            description="The secret as a URI for authenticator apps.",
            examples=[
                "otpauth://totp/api.example.com:ada%40example.com"
                "?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=api.example.com"
            ],
        ),
    ]
    qr_svg: Annotated[
        str,
        Meta(
            description="The URI as a QR code: a complete SVG image.",
            examples=['<svg xmlns="http://www.w3.org/2000/svg" width="228" height="228" class="segno">…</svg>'],
        ),
    ]


class ConfirmSecondFactor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first code from the authenticator app."""

    otp: Annotated[OneTimeCode, Meta(description="The current code from the app.")]


class RecoveryCodesBody(msgspec.Struct, frozen=True):
    """Ten recovery codes, shown only once. Each can be used once instead of a code from the app."""

    recovery_codes: Annotated[list[str], Meta(examples=[["7k3mqx-0zt9c4-rwn82v-jd5hb6"]])]


class DisableSecondFactor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Proof of ownership."""

    password: AnyPassword
    otp: OneTimeCode


class ExportedSecondFactor(msgspec.Struct, frozen=True):
    """A second factor. `confirmed_at` is null until it is enabled."""

    created_at: Time
    confirmed_at: Time | None
    recovery_codes_left: Annotated[int, Meta(ge=0, examples=[10])]
