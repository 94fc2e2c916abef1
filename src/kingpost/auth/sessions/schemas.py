"""Request and response bodies for signing in and out."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kingpost.accounts.users.schemas import UserBody
from kingpost.http.app.fields import AnyPassword, Email, Id, ProofCode, Time
from kingpost.model import Session

AccessToken = Annotated[
    str,
    Meta(
        description="A JWT (RFC 9068). Send it as `Authorization: Bearer …`.",
        examples=["eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIwMTlhYmMzZSJ9.c2lnbmF0dXJl"],
    ),
]

RefreshToken = Annotated[str, Meta(description="An opaque token, which can be exchanged once.", max_length=1024)]

REFRESH_TOKENS = ["kQx1ZtB0d3Jm5q8uVw2yA4c6e9g7h0jLnPrTsXzKbMo"]


Device = Annotated[str, Meta(examples=["curl/8.14.1"])]
Address = Annotated[str, Meta(examples=["192.0.2.1"])]


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The credentials of an account."""

    email: Email
    password: AnyPassword
    otp: ProofCode | None = None


class Refresh(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The refresh token to exchange."""

    refresh_token: Annotated[RefreshToken, Meta(examples=REFRESH_TOKENS)]


class Logout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The session to end: that of the refresh token, or else that of the bearer token."""

    refresh_token: RefreshToken | None = None
    everywhere: Annotated[bool, Meta(description="End all sessions and API keys of the account.", examples=[False])] = (
        False
    )
    keep_api_keys: Annotated[
        bool, Meta(description="Only with `everywhere`: do not end the API keys.", examples=[False])
    ] = False


class GrantBody(msgspec.Struct, frozen=True):
    """A pair of tokens (RFC 6749, section 5.1)."""

    access_token: AccessToken
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Meta(description="Lifetime of the access token in seconds.", examples=[600])]
    refresh_token: Annotated[RefreshToken, Meta(examples=REFRESH_TOKENS)]
    session_id: Id
    user: UserBody


class SessionBody(msgspec.Struct, frozen=True):
    """A session: a sign-in on one device."""

    id: Id
    device: Annotated[str, Meta(description="The user agent that signed in.", examples=["curl/8.14.1"])] | None
    address: Annotated[str, Meta(description="The IP address of that sign-in.", examples=["192.0.2.1"])] | None
    created_at: Time
    last_used_at: Time
    expires_at: Time
    current: Annotated[bool, Meta(description="Whether this is the session of the request.")]

    @classmethod
    def of(cls, session: Session, current_id: str | None) -> "SessionBody":
        return cls(
            session.id,
            session.device,
            session.address,
            session.created_at,
            session.last_used_at,
            session.expires_at,
            session.id == current_id,
        )


class SessionList(msgspec.Struct, frozen=True):
    """All active sessions of the account. There is only one page."""

    items: list[SessionBody]
    next_cursor: None


class ExportedSession(msgspec.Struct, frozen=True):
    """A session. When it has ended, `device` and `address` are null."""

    id: Id
    device: Device | None
    address: Address | None
    created_at: Time
    last_used_at: Time
    expires_at: Time
    ended_at: Time | None
