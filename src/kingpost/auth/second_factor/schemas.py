"""What requests and responses about the second factor hold."""

from typing import Annotated

import msgspec
from msgspec import Meta

from kingpost.http.app.fields import AnyPassword, Time

OneTimeCode = Annotated[
    str,
    Meta(
        max_length=64,
        description="The six digits that the app shows, each of which works once, or a recovery code.",
        examples=["287082"],
    ),
]


class SecondFactorState(msgspec.Struct, frozen=True):
    """Whether logins ask for a code."""

    enabled: bool
    recovery_codes_left: Annotated[int, Meta(ge=0, examples=[10])]


class BeginSecondFactor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Proof that it is the owner who asks. A session that was started within the last 15 minutes is proof enough."""

    password: AnyPassword | None = None


class EnrolmentBody(msgspec.Struct, frozen=True):
    """A new secret, shown this once. It is asked for by logins after the first code has confirmed it."""

    secret: Annotated[str, Meta(description="Base32, to be typed.", examples=["JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"])]
    uri: Annotated[
        str,
        Meta(
            description="The same for apps to read.",
            examples=[
                "otpauth://totp/api.example.com:ada%40example.com"
                "?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=api.example.com"
            ],
        ),
    ]
    qr_svg: Annotated[
        str,
        Meta(
            description="The URI as a QR code: an SVG image that stands on its own.",
            examples=['<svg xmlns="http://www.w3.org/2000/svg" width="228" height="228" class="segno">…</svg>'],
        ),
    ]


class ConfirmSecondFactor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first code that the app shows."""

    otp: OneTimeCode


class RecoveryCodesBody(msgspec.Struct, frozen=True):
    """Ten codes, shown this once. Each opens the account once in the place of the app's code."""

    recovery_codes: Annotated[list[str], Meta(examples=[["7k3mqx-0zt9c4-rwn82v-jd5hb6"]])]


class DisableSecondFactor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Proof that it is the owner who asks."""

    password: AnyPassword
    otp: OneTimeCode


class ExportedSecondFactor(msgspec.Struct, frozen=True):
    """A second factor. `confirmed_at` is null until it is in force."""

    created_at: Time
    confirmed_at: Time | None
    recovery_codes_left: Annotated[int, Meta(ge=0, examples=[10])]
