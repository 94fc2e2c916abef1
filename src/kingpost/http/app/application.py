"""The ASGI application: the processing that all requests share.

`Application.__call__` reads from top to bottom: require HTTPS, find the route, authenticate the caller, decode and
validate the input, call the handler, convert problems to responses, add the common headers.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from kingpost import clock
from kingpost.http.app import body, compression, cors
from kingpost.http.app.answers import Answer, Header, StreamedAnswer
from kingpost.http.app.call import Call, Machine
from kingpost.http.app.etags import format_etag
from kingpost.http.app.fields import ID_PATTERN
from kingpost.http.app.input import Rules, parse_body, parse_query
from kingpost.http.app.media_types import accepts
from kingpost.http.app.plain_http import PlainHTTP
from kingpost.http.app.preconditions import IF_MATCH, IF_NONE_MATCH, Preconditions
from kingpost.http.app.problems import problem_answer
from kingpost.http.app.router import OWN_ID, Endpoint, Route, Router, Who
from kingpost.http.app.schemas import JSONPatch, JSONPatchOperation
from kingpost.jsontools.json_patch import MAX_OPERATIONS
from kingpost.jsontools.strict import JSONLimits
from kingpost.jsontools.worker import SMALL
from kingpost.problems import (
    Fault,
    Forbidden,
    HeadersTooLarge,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    Problem,
    VersionMismatch,
)
from kingpost.settings import Settings, is_loopback

type Scope = dict[str, Any]
type Receive = Callable[[], Awaitable[dict[str, Any]]]
type Send = Callable[[dict[str, Any]], Awaitable[None]]
type ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]

UUID = re.compile(ID_PATTERN)
VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=-]{1,128}")
IDS = frozenset({"id"})
"""The path parameters that must be UUIDs."""
ANY_MEDIA_TYPE = "*/*"
PROBES = frozenset({"/livez", "/readyz"})
"""Health checks. Orchestrators may send them over plain HTTP, because they reveal nothing."""

COMMON_HEADERS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"vary", b"Accept-Encoding, Authorization, Origin"),
)
STREAM_ABORTED = "kingpost.response.aborted"
"""Type of a private ASGI message: the stream failed part-way. The connection is reset, so that the client cannot take
the response for complete."""
HSTS: Header = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")

logger = logging.getLogger("kingpost.http")
is_local = lru_cache(maxsize=1024)(is_loopback)


class Application:
    """Handles HTTP requests."""

    def __init__(self, settings: Settings, machine: Machine, endpoints: Iterable[Endpoint]) -> None:
        self._settings = settings
        self._machine = machine
        self._router = Router(endpoints)
        self._origins = settings.cors_origins
        self._plain_http = PlainHTTP()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = _headers(scope["headers"])
        request_id = request_id_of(headers)
        try:
            answer = await self._answer(scope, headers, request_id, receive)
        except Problem as problem:
            answer = problem_answer(problem, scope["raw_path"].decode("latin-1"), request_id)
        except body.Disconnected:
            return
        except Exception:
            logger.exception("request %s: %s %s failed", request_id, scope["method"], scope["path"])
            answer = problem_answer(InternalError(), scope["raw_path"].decode("latin-1"), request_id)
        if isinstance(answer, StreamedAnswer):
            await self._stream(scope, headers, answer, request_id, send)
        else:
            await self._send(scope, headers, answer, request_id, send)

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], request_id: str, receive: Receive) -> Answer:
        self._check_transport(scope, headers)
        match = self._router.match(scope["raw_path"].decode("latin-1"))
        if match is None:
            raise NotFound(self._with_a_slash_less(scope["path"]))
        endpoints, path = match
        endpoint = endpoints.get(scope["method"])
        if endpoint is None:
            if cors.is_preflight(scope["method"], headers, self._origins):
                return cors.preflight(endpoints)
            raise MethodNotAllowed(tuple(endpoints))
        route = endpoint.route
        if route.status != 204 and route.media_type != ANY_MEDIA_TYPE:
            _check_accept(headers, route.media_type)
        call = Call(self._machine, route, scope, headers, request_id)
        if route.who is Who.CALLER or route.who is Who.ADMIN:
            principal = await call.authenticate()
            if route.who is Who.ADMIN and not principal.is_admin:
                raise Forbidden("This requires the role admin")
        if path:
            call.path = _path_parameters(path, call)
        not_modified = None if route.target is None else await _find_target(call, endpoint)
        call.query = parse_query(scope["query_string"], route.query)
        if route.body is not None:
            await self._read_body(call, endpoint.rules, receive)
        try:
            answer: Answer = await route.handler(call, endpoint.service)
        except VersionMismatch as mismatch:  # A concurrent write came after the preconditions were evaluated.
            raise VersionMismatch(route.representation(call, mismatch.current)) from mismatch
        if not_modified is not None:
            answer.status, answer.tag = 304, None if not_modified == "*" else not_modified
        elif route.media_type == ANY_MEDIA_TYPE:
            _check_accept(headers, answer.media_type.partition(";")[0])
        return answer

    def _with_a_slash_less(self, path: str) -> str | None:
        """Return a hint if the path exists without the slash at its end."""
        if path.endswith("/") and self._router.match(path.rstrip("/")) is not None:
            return f"Nothing is at this path. Send the request without the slash at its end: {path.rstrip('/')}"
        return None

    def _check_transport(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        if scope["scheme"] == "http" and scope["path"] not in PROBES:
            server = scope.get("server")
            if self._settings.environment != "development" or not (server and is_local(server[0])):
                raise self._plain_http.refuse(scope, headers)
        size = len(scope["path"]) + len(scope["query_string"])
        for name, value in scope["headers"]:
            size += len(name) + len(value) + 4
        if size > self._settings.header_limit:
            raise HeadersTooLarge()
        if b"host" not in headers and scope["http_version"] == "1.1":  # RFC 9112, section 3.2
            raise InvalidRequest.of(Fault("HTTP/1.1 requires the Host header", "required", header="Host"))

    async def _read_body(self, call: Call, rules: Rules | None, receive: Receive) -> None:
        route, machine = call.route, self._machine
        assert route.body is not None
        media_type = None
        if not route.body_optional and body.is_absent(call.headers):
            parse_body({}, route.body, rules)
            raise InvalidRequest.of(Fault("This request needs a body", "required", pointer=""))
        if not route.body_optional or body.is_announced(call.headers):
            # What the head decides is decided before the client is asked for the body.
            media_type = body.media_type(route.method, call.headers)
        text = await body.read(call.headers, receive, route.body_limit(machine.body_limit))
        if not text and route.body_optional:
            return
        call.body_size = len(text)
        media_type = media_type or body.media_type(route.method, call.headers)
        if len(text) <= SMALL:  # This runs for each request: `run` would be slower.
            call.body = _parse(media_type, text, machine.json_limits, route.body, rules)
        else:
            call.body = await machine.json_worker.run(
                len(text), _parse, media_type, text, machine.json_limits, route.body, rules
            )

    async def _send(
        self, scope: Scope, headers: dict[bytes, bytes], answer: Answer, request_id: str, send: Send
    ) -> None:
        content = answer.body
        content_headers: list[Header] = []
        encoding = compression.choose(headers, answer)
        if answer.version is not None:
            tag = answer.tag or format_etag(answer.version, encoding)
            content_headers.append((b"etag", tag.encode()))
        if answer.status == 304:
            content = b""
        elif answer.status != 204:
            if encoding is not None:
                content = await compression.compress(encoding, content)
                content_headers.append((b"content-encoding", encoding.encode()))
            content_headers.append((b"content-type", answer.media_type.encode()))
            content_headers.append((b"content-length", str(len(content)).encode()))
        await send(self._start(scope, headers, answer, request_id, content_headers))
        # A response to HEAD has the same headers as one to GET, but no body (RFC 9110, section 9.3.2).
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})

    async def _stream(
        self, scope: Scope, headers: dict[bytes, bytes], answer: StreamedAnswer, request_id: str, send: Send
    ) -> None:
        content_headers = [(b"content-type", answer.media_type.encode())]
        encoding = compression.choose(headers, answer)
        if encoding is not None:
            content_headers.append((b"content-encoding", encoding.encode()))
        async with contextlib.aclosing(answer.chunks) as chunks:
            await send(self._start(scope, headers, answer, request_id, content_headers))
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            try:
                await _send_chunks(chunks if encoding is None else compression.compress_stream(encoding, chunks), send)
            except OSError:
                logger.info("request %s: the client disconnected before the end of %s", request_id, scope["path"])
            except asyncio.CancelledError:  # The shutdown timeout is over.
                await send({"type": STREAM_ABORTED})
                raise
            except Exception as error:
                is_known = isinstance(error, Problem)
                detail = f"{error}" if is_known else "internal error"
                logger.error("request %s: %s aborted: %s", request_id, scope["path"], detail, exc_info=not is_known)
                await send({"type": STREAM_ABORTED})

    def _start(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        answer: Answer,
        request_id: str,
        content_headers: Sequence[Header],
    ) -> dict[str, Any]:
        """Return the message that starts a response. `content_headers` are the headers that describe its body."""
        common = (b"x-request-id", request_id.encode()), *COMMON_HEADERS, answer.content_security_policy
        out = [*common, *answer.headers, *content_headers]
        if scope["scheme"] == "https":
            out.append(HSTS)
        if self._origins:
            out.extend(cors.response_headers(headers, self._origins))
        return {"type": "http.response.start", "status": answer.status, "headers": out}


def _parse(
    media_type: str, text: bytes, limits: JSONLimits, body_type: type[msgspec.Struct], rules: Rules | None
) -> Any:
    """Decode a body, and convert it to the type of the route or to a `JSONPatch`."""
    document = body.decode(media_type, text, limits)
    if media_type != body.JSON_PATCH:
        return parse_body(document, body_type, rules)
    parse_body(document[:MAX_OPERATIONS], list[JSONPatchOperation], None)  # `apply` refuses longer ones.
    return JSONPatch(document)


async def _send_chunks(chunks: AsyncIterator[bytes], send: Send) -> None:
    # Send the head immediately. `more_body` marks the response as streamed.
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    async for chunk in chunks:
        if chunk:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        # Neither SQLite nor a client that reads quickly lets other requests have their turn.
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _headers(lines: list[Header]) -> dict[bytes, bytes]:
    """Return the headers by name. Values of repeated headers are joined by commas (RFC 9110, section 5.2).

    A header without a value counts as absent.
    """
    headers = dict(lines)
    if len(headers) < len(lines) or b"" in headers.values():
        headers = {}
        for name, value in lines:
            if value:
                headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    """Return the id that the client gave to its request, or a new one."""
    value = headers.get(b"x-request-id")
    if value is not None and VALID_REQUEST_ID.fullmatch(value):
        return value.decode()
    return clock.unique()


def _check_accept(headers: Mapping[bytes, bytes], media_type: str) -> None:
    accept = headers.get(b"accept")
    if accept is not None and not accepts(accept.decode("latin-1"), media_type):
        raise NotAcceptable(f"This path only produces {media_type}")


async def _find_target(call: Call, endpoint: Endpoint) -> str | None:
    """Find the target of a call and evaluate the preconditions of the request (RFC 9110, section 13.2.2).

    Return None if the request is to be processed. Otherwise the response to a GET is 304: return the tag that the
    client named, or "*".

    Raises:
        VersionMismatch: a precondition does not hold.
    """
    route: Route[Any] = call.route
    assert route.target is not None
    call.target = await route.target(call, endpoint.service)
    if IF_MATCH not in call.headers and IF_NONE_MATCH not in call.headers:
        return None
    preconditions = Preconditions(call.headers)
    version = call.target.version
    preconditions.check_match(version, route.representation(call, call.target))
    named = preconditions.not_modified(version)
    if route.method == "GET":
        return named
    if named is not None:
        detail = f"If-None-Match names the stored version: {named}"
        raise VersionMismatch(route.representation(call, call.target), detail)
    call.versions = preconditions.versions(version)
    return None


def _path_parameters(parameters: dict[str, str], call: Call) -> dict[str, str]:
    for name, value in parameters.items():
        if value == OWN_ID:
            parameters[name] = call.caller.user_id
        elif name in IDS:
            if not UUID.fullmatch(value):
                raise InvalidRequest.of(Fault(f"The path parameter {name} must be a UUID", "uuid", parameter=name))
            parameters[name] = value.lower()
    return parameters
