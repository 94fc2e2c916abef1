"""Problems: the errors that a client can receive, as exceptions (RFC 9457).

A feature raises a problem by its meaning (`raise VersionMismatch(current)`). `http/app/problems.py` converts it to
`application/problem+json`. The texts are public: they must never contain SQL, a file path, a secret or a rejected
password.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

MAX_FAULTS: Final = 100
"""Maximum number of faults in a problem document. It is enough for a person, and bounds the size of the response."""


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One invalid part of a request.

    Exactly one of `pointer` (a JSON Pointer into the body, RFC 6901), `parameter` (query or path) and `header`
    locates it. `detail` is for people, `code` is for programs.
    """

    detail: str
    code: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None


class OperatorError(Exception):
    """An error that only the operator can correct, such as a missing database. The message is one sentence."""


class Problem(Exception):
    """An error response. Each subclass defines its `status`, `slug`, `title` and `explanation`."""

    status: ClassVar[int]
    slug: ClassVar[str]
    title: ClassVar[str]
    explanation: ClassVar[str]
    """The text of the page `/problems/<slug>`: the cause, and what to do about it."""

    def __init__(
        self,
        detail: str | None = None,
        *,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Describe one occurrence.

        Args:
            detail: one sentence about this occurrence. Default: the title.
            faults: the field `errors` of the problem document, which shows the first `MAX_FAULTS`.
            headers: additional response headers.
        """
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.faults = tuple(faults[:MAX_FAULTS])
        self.has_more_faults = len(faults) > MAX_FAULTS
        self.headers = dict(headers or {})


class InvalidRequest(Problem):
    status = 400
    slug = "invalid-request"
    title = "The request is invalid"
    explanation = (
        "The body, a query parameter, the path or a header is invalid. The field `errors` lists the faults: "
        "`pointer` is a JSON Pointer into the body, `parameter` names a query or path parameter, `header` names a "
        "header. `detail` says what is allowed, and `code` is a stable value for programs. Correct the faults before "
        "you send the request again. If there are more than 100, `more` is true."
    )

    @classmethod
    def of(cls, *faults: Fault) -> "InvalidRequest":
        """Create the problem from its faults, with the detail of the first one."""
        return cls(faults[0].detail, faults=faults)


class Unauthenticated(Problem):
    status = 401
    slug = "unauthenticated"
    title = "Valid credentials are required"
    explanation = (
        "The request has no credentials, or they are malformed, expired, revoked or forged. "
        "Refresh the access token with `POST /api/v1/auth/refresh`, or log in again."
    )

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class InvalidCredentials(Problem):
    status = 401
    slug = "invalid-credentials"
    title = "The e-mail address or the password is wrong"
    explanation = (
        "Login failed. An unknown e-mail address and a wrong password get the same response, so that it does not "
        "reveal which addresses have an account."
    )

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class MfaRequired(Problem):
    status = 401
    slug = "mfa-required"
    title = "A second factor is required"
    explanation = (
        "The password is correct, but the second factor is missing. Send the login again with the field `otp`: a "
        "current code of the authenticator app, or an unused recovery code."
    )

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(Problem):
    status = 403
    slug = "forbidden"
    title = "This is not permitted"
    explanation = (
        "The credentials are valid, but the caller is not allowed to do this. Its roles, its ownership of the "
        "resource, the scopes of the API key or the access rules of the type do not permit it."
    )


class HttpsRequired(Problem):
    status = 403
    slug = "https-required"
    title = "HTTPS is required"
    explanation = (
        "The server accepts HTTPS only. It does not redirect plain HTTP, because the credentials have already "
        "crossed the network unencrypted by then. Send the request to the same address with `https://`."
    )


class NotFound(Problem):
    status = 404
    slug = "not-found"
    title = "Not found"
    explanation = "This path does not exist, or nothing has this id. Check the path and the id."


class MethodNotAllowed(Problem):
    status = 405
    slug = "method-not-allowed"
    title = "This path does not support the method"
    explanation = (
        "The path exists but does not support this method. The `Allow` header lists the methods that it supports."
    )

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(headers={"Allow": ", ".join(allowed)})


class NotAcceptable(Problem):
    status = 406
    slug = "not-acceptable"
    title = "No available media type matches the Accept header"
    explanation = (
        "The `Accept` header excludes the media type of this path's responses. Add the type that `detail` names to the "
        "header, or send no `Accept` header."
    )


class Conflict(Problem):
    status = 409
    slug = "conflict"
    title = "The request conflicts with the current state"
    explanation = (
        "The request is valid, but the current state does not allow it. For example, an e-mail address or the value of "
        "a unique field is taken, the account is the last administrator, a type is in use, a `test` operation of a "
        "JSON Patch failed, or a request with the same idempotency key is still in progress."
    )


class VersionMismatch(Problem):
    status = 412
    slug = "version-mismatch"
    title = "The stored version does not meet If-Match or If-None-Match"
    explanation = (
        "`If-Match` does not name the stored version, or `If-None-Match` names it: it has changed since you read it. "
        "The field `current` contains the current representation. Apply your change to that, and send the request "
        'again with its version in quotes: `If-Match: "3"`. An entity tag that a proxy has made weak (`W/"3"`) never '
        "matches in `If-Match`."
    )

    def __init__(self, current: Any, detail: str | None = None) -> None:
        """Report the stored value: `current` is encoded as the field of that name."""
        super().__init__(detail)
        self.current = current


class TooLarge(Problem):
    status = 413
    slug = "too-large"
    title = "The body is too large"
    explanation = (
        "The request body, or the document that a patch would create, exceeds a size limit. `detail` names it. Where "
        "no credentials are needed, it is at most 16 KiB. Send a smaller body."
    )


class UnsupportedMediaType(Problem):
    status = 415
    slug = "unsupported-media-type"
    title = "The body's media type is not supported"
    explanation = (
        "Request bodies must be uncompressed UTF-8 JSON with the header `Content-Type: application/json`. `PATCH` "
        "also accepts `application/merge-patch+json` and `application/json-patch+json`."
    )


class IdempotencyKeyReused(Problem):
    status = 422
    slug = "idempotency-key-reused"
    title = "The idempotency key was used for a different request"
    explanation = "This `Idempotency-Key` was already used for a different request. Use a new key for each new request."


class PreconditionRequired(Problem):
    status = 428
    slug = "precondition-required"
    title = "If-Match is required"
    explanation = "Writes to this type require `If-Match`. Read the resource first, and send its `ETag` as `If-Match`."


class RateLimited(Problem):
    status = 429
    slug = "rate-limited"
    title = "Too many requests"
    explanation = "The caller exceeded its rate limit. Wait for the number of seconds in `Retry-After`, then try again."

    def __init__(self, detail: str | None = None, *, retry_after: int) -> None:
        """Ask the client to try again after `retry_after` seconds."""
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class HeadersTooLarge(Problem):
    status = 431
    slug = "headers-too-large"
    title = "The request's headers are too large"
    explanation = (
        "The request line and the headers together exceed the size limit of the server. Send fewer or shorter headers."
    )


class InternalError(Problem):
    status = 500
    slug = "internal-error"
    title = "Internal server error"
    explanation = (
        "The server failed unexpectedly. Report the `request_id` to its operator, who finds the details in the log."
    )


class NotImplementedByServer(Problem):
    status = 501
    slug = "not-implemented"
    title = "The server does not implement this"
    explanation = (
        "The request has a method that HTTP does not know, or a body with a transfer coding other than `chunked`. "
        "Check the method, which is case-sensitive, and send the body with `Content-Length` or as `chunked`."
    )


class Unavailable(Problem):
    status = 503
    slug = "unavailable"
    title = "The service is temporarily unavailable"
    explanation = (
        "A dependency of the server is down, the server is overloaded, or it is shutting down. Wait for the number of "
        "seconds in `Retry-After`, then try again."
    )

    def __init__(self, detail: str | None = None, *, retry_after: int = 1) -> None:
        """Ask the client to try again after `retry_after` seconds."""
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


CATALOGUE: Mapping[str, type[Problem]] = {problem.slug: problem for problem in Problem.__subclasses__()}
"""All problems by slug. The `/problems/<slug>` pages and the OpenAPI document are generated from it."""
