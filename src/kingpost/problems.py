"""Everything that can go wrong for a caller, as exceptions that carry their meaning (RFC 9457).

A feature raises what it means (`raise VersionMismatch(current)`); `http/problems.py` turns it into
`application/problem+json` in one place. Texts here reach strangers: no SQL, path, secret or refused
password belongs in them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong with the input.

    Exactly one of `pointer` (RFC 6901, into the body), `parameter` (query or path) and `header`
    says where. `detail` is for people, `code` for programs.
    """

    detail: str
    code: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None


class Problem(Exception):
    """A refusal with an HTTP status. Subclasses fix `status`, `slug` and `title`."""

    status: ClassVar[int]
    slug: ClassVar[str]
    title: ClassVar[str]
    explanation: ClassVar[str]
    """What the page at `/problems/<slug>` tells a developer who meets this for the first time."""

    def __init__(
        self,
        detail: str | None = None,
        *,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        """Describe one occurrence.

        Args:
            detail: one sentence about this occurrence; the title when absent.
            faults: the `errors` member.
            headers: response headers beside the usual ones.
            members: extension members of the problem document (RFC 9457, section 3.2).
        """
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.faults = tuple(faults)
        self.headers = dict(headers or {})
        self.members = dict(members or {})


class InvalidRequest(Problem):
    status = 400
    slug = "invalid-request"
    title = "The request breaks a rule"
    explanation = (
        "The body, a query parameter, the path or a header breaks a rule. The `errors` member lists every "
        "fault that was found: `pointer` is a JSON Pointer into the body, `parameter` names a query or path "
        "parameter, `header` names a header, `code` is stable and meant for programs."
    )

    @classmethod
    def of(cls, *faults: Fault) -> "InvalidRequest":
        """Make the problem from its faults; the detail is the first fault's."""
        return cls(faults[0].detail, faults=faults)


class Unauthenticated(Problem):
    status = 401
    slug = "unauthenticated"
    title = "Valid credentials are required"
    explanation = (
        "The request carries no credentials, or ones that are malformed, expired, revoked or forged. "
        "Refresh the access token with `POST /api/v1/auth/refresh`, or log in again."
    )

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class InvalidCredentials(Problem):
    status = 401
    slug = "invalid-credentials"
    title = "The e-mail or the password is wrong"
    explanation = (
        "Login failed. The answer is the same for an unknown e-mail and for a wrong password, so that nobody "
        "can find out who has an account."
    )

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class MfaRequired(Problem):
    status = 401
    slug = "mfa-required"
    title = "A second factor is required"
    explanation = "The password is right, but the second factor is missing: send the login again with `otp`."

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(Problem):
    status = 403
    slug = "forbidden"
    title = "This is not permitted"
    explanation = "The caller is known, but its roles, its ownership or the type's rules do not permit this."


class HttpsRequired(Problem):
    status = 403
    slug = "https-required"
    title = "HTTPS is required"
    explanation = (
        "The server demands HTTPS and refuses plain HTTP, without a redirect: a redirect would come after "
        "credentials had already crossed the network in clear. Call the same address with https://."
    )


class NotFound(Problem):
    status = 404
    slug = "not-found"
    title = "There is nothing here"
    explanation = "The path or the id names nothing."


class MethodNotAllowed(Problem):
    status = 405
    slug = "method-not-allowed"
    title = "This path does not know the method"
    explanation = "The path exists, but not with this method. The `Allow` header lists those it knows."

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(headers={"Allow": ", ".join(allowed)})


class NotAcceptable(Problem):
    status = 406
    slug = "not-acceptable"
    title = "No representation fits the Accept header"
    explanation = "The `Accept` header excludes every media type that this path can answer with."


class Conflict(Problem):
    status = 409
    slug = "conflict"
    title = "This conflicts with what is stored"
    explanation = (
        "The request is well formed, but the present state forbids it: an e-mail or a unique field that is taken, the "
        "last administrator, a type in use, a failed `test` of a JSON Patch, or the same idempotency key in flight."
    )


class VersionMismatch(Problem):
    status = 412
    slug = "version-mismatch"
    title = "It has changed since you read it"
    explanation = (
        "`If-Match` names another version than the stored one: someone else was faster. The `current` member "
        "holds the present representation; merge your change into it and send it again with its version."
    )

    def __init__(self, current: Any) -> None:
        """`current` is the stored value (a model object) that another writer left."""
        super().__init__()
        self.current = current


class TooLarge(Problem):
    status = 413
    slug = "too-large"
    title = "The body is too large"
    explanation = "The request's body exceeds the server's limit."


class UnsupportedMediaType(Problem):
    status = 415
    slug = "unsupported-media-type"
    title = "The body's media type is not supported"
    explanation = (
        "Bodies are UTF-8 `application/json`, without a content coding. PATCH takes `application/merge-patch+json` and "
        "`application/json-patch+json` too."
    )


class IdempotencyKeyReused(Problem):
    status = 422
    slug = "idempotency-key-reused"
    title = "The idempotency key belongs to another request"
    explanation = "The `Idempotency-Key` was sent before with a different request. Use a new key for a new request."


class PreconditionRequired(Problem):
    status = 428
    slug = "precondition-required"
    title = "If-Match is required"
    explanation = "Resources of this type are written with `If-Match` only. Read first, and send the `ETag` you got."


class RateLimited(Problem):
    status = 429
    slug = "rate-limited"
    title = "Too many requests"
    explanation = "This caller has used up its rate. Try again after the seconds named by `Retry-After`."

    def __init__(self, detail: str | None = None, *, retry_after: int) -> None:
        """`retry_after` is in seconds."""
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class HeadersTooLarge(Problem):
    status = 431
    slug = "headers-too-large"
    title = "The request's headers are too large"
    explanation = "The request line and headers together exceed the server's limit."


class InternalError(Problem):
    status = 500
    slug = "internal-error"
    title = "Something went wrong on our side"
    explanation = "The server met a fault of its own. Tell its operator the `request_id`: the log has the rest."


class Unavailable(Problem):
    status = 503
    slug = "unavailable"
    title = "The service is not available right now"
    explanation = (
        "A dependency is down, or the server sheds load to stay quick for the others. Try again after the "
        "seconds named by `Retry-After`."
    )

    def __init__(self, detail: str | None = None, *, retry_after: int = 1) -> None:
        """`retry_after` is in seconds."""
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


CATALOGUE: Mapping[str, type[Problem]] = {problem.slug: problem for problem in Problem.__subclasses__()}
"""Every problem by its slug: what the `/problems/<slug>` pages and the OpenAPI document are made from."""
