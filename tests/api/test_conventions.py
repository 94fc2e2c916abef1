"""Section 1 of the contract: the conventions of all paths."""

import gzip
import json
from typing import Any

import httpx
import pytest
import zstandard

from tests.api.stack import PASSWORD, UNKNOWN_ID, Caller, Serve, Stack, assert_problem, faults_of

APP = "https://app.example.com"
PREFLIGHT = {
    "Origin": APP,
    "Access-Control-Request-Method": "PATCH",
    "Access-Control-Request-Headers": "authorization, content-type, if-match",
}
LARGE = {"type": "large", "data": {"text": "la " * 5000}}


async def create(caller: Caller, body: dict[str, Any]) -> str:
    response = await caller.http.post("/api/v1/resources", json=body)
    assert response.status_code == 201
    return str(response.json()["id"])


# --- paths -----------------------------------------------------------------------------------------


async def test_paths_with_and_without_the_version_are_the_same_endpoint(alice: Caller) -> None:
    resource_id = await create(alice, {"type": "note", "data": {}})
    for base in ("/api", "/api/v1"):
        response = await alice.http.get(f"{base}/resources/{resource_id}")
        assert response.json()["id"] == resource_id


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/api", "/api/", "/api/v1", "/api/v1/", "/api/v2/users/me", "/v1/users/me", "/users/me"),
        *("/api/v1/v1/users/me", "/api/v1/v1/v1/livez", "/api/livez", "/api/v1/livez", "/API/v1/users/me"),
        *("//api/v1/users/me", "/api//v1/users/me", "/api/v1/users/me/", "/livez/", "/api/v1/nothing"),
        *("/problems", "/problems/", "/problems/nothing", "/docs/nothing.js", "/docs/..%2fops.py", "/%00", "/%ff"),
    ],
)
async def test_an_unknown_path_is_not_found(alice: Caller, path: str) -> None:
    assert_problem(await alice.http.get(path), 404, "not-found")


@pytest.mark.parametrize("path", ["/api/v1/users/{}", "/api/v1/resources/{}", "/api/resources/{}"])
@pytest.mark.parametrize(
    "bad", ["1", "me2", UNKNOWN_ID[:-1], UNKNOWN_ID + "0", UNKNOWN_ID.replace("-", ""), f"{{{UNKNOWN_ID}}}"]
)
async def test_an_id_that_is_not_a_uuid_is_invalid(alice: Caller, path: str, bad: str) -> None:
    assert faults_of(await alice.http.get(path.format(bad))) == ["id"]


@pytest.mark.parametrize("end", ["%0A", "%00", "%20"])
async def test_an_id_with_trailing_characters_is_invalid(alice: Caller, end: str) -> None:
    assert faults_of(await alice.http.get(f"/api/v1/resources/{UNKNOWN_ID}{end}")) == ["id"]


async def test_an_unknown_id_is_not_found(alice: Caller) -> None:
    assert_problem(await alice.http.get(f"/api/v1/resources/{UNKNOWN_ID}"), 404, "not-found")
    assert_problem(await alice.http.delete(f"/api/v1/auth/sessions/{UNKNOWN_ID}"), 404, "not-found")


# --- request ids -----------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["a", "trace-1.2_3:4", "0af7651916cd43dd8448eb211c80319c", "x" * 128])
async def test_a_valid_request_id_is_kept(client: httpx.AsyncClient, given: str) -> None:
    for path in ("/livez", "/nothing"):
        response = await client.get(path, headers={"X-Request-ID": given})
        assert response.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", " ", "x" * 129, "two words", "<script>", "é", 'a"b', "a,b", "{}"])
async def test_an_invalid_request_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    response = await client.get("/nothing", headers={b"X-Request-ID": given.encode()})
    assert response.headers["x-request-id"] not in (given, "")


async def test_each_request_gets_a_unique_id(client: httpx.AsyncClient) -> None:
    ids = {(await client.get("/livez")).headers["x-request-id"] for _ in range(10)}
    assert len(ids) == 10


# --- methods ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/api/v1/users/me", "/api/v1/resources", "/livez", "/openapi.json", "/docs", "/problems/conflict"]
)
async def test_head_returns_the_headers_of_get_without_a_body(alice: Caller, path: str) -> None:
    got = await alice.http.get(path)
    head = await alice.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    unique = {"x-request-id"}
    assert {n: v for n, v in head.headers.items() if n not in unique} == {
        n: v for n, v in got.headers.items() if n not in unique
    }


async def test_head_of_a_missing_resource_has_no_body(alice: Caller) -> None:
    response = await alice.http.head(f"/api/v1/resources/{UNKNOWN_ID}")
    assert (response.status_code, response.content) == (404, b"")
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/api/v1/resources", {"GET", "HEAD", "POST"}),
        ("DELETE", "/api/v1/users", {"GET", "HEAD", "POST"}),
        ("POST", f"/api/v1/resources/{UNKNOWN_ID}", {"GET", "HEAD", "PUT", "PATCH", "DELETE"}),
        ("GET", "/api/v1/auth/login", {"POST"}),
        ("HEAD", "/api/v1/auth/login", {"POST"}),
        ("OPTIONS", "/api/v1/resources", {"GET", "HEAD", "POST"}),
        ("TRACE", "/api/v1/resources", {"GET", "HEAD", "POST"}),
        ("POST", "/livez", {"GET", "HEAD"}),
        ("BREW", "/livez", {"GET", "HEAD"}),
        ("get", "/livez", {"GET", "HEAD"}),
    ],
)
async def test_an_unsupported_method_is_refused_with_the_allowed_methods(
    stack: Stack, method: str, path: str, allowed: set[str]
) -> None:
    # httpx.Request would convert the method to upper case.
    request = httpx.Request(method, httpx.URL(f"http://127.0.0.1:8000{path}"))
    request.method = method
    response = await stack.client().send(request)
    assert set(response.headers["allow"].split(", ")) == allowed
    if method != "HEAD":
        assert_problem(response, 405, "method-not-allowed")


# --- cross-origin requests -------------------------------------------------------------------------


async def test_a_preflight_from_a_configured_origin_is_answered(serve: Serve) -> None:
    stack = await serve(CORS_ORIGINS=f"{APP}, http://localhost:5173")
    response = await stack.client().options(f"/api/v1/resources/{UNKNOWN_ID}", headers=PREFLIGHT)
    assert response.status_code in (200, 204)
    headers = response.headers
    assert headers["access-control-allow-origin"] == APP
    assert "PATCH" in headers["access-control-allow-methods"].split(", ")
    allowed = {name.lower() for name in headers["access-control-allow-headers"].split(", ")}
    assert {"authorization", "content-type", "if-match", "if-none-match", "x-request-id"} <= allowed
    assert "access-control-allow-credentials" not in headers
    assert "Origin" in headers["vary"]


async def test_scripts_of_a_configured_origin_can_read_responses_and_problems(serve: Serve) -> None:
    stack = await serve(CORS_ORIGINS=APP)
    for path in ("/livez", "/api/v1/users/me", "/nothing"):
        headers = (await stack.client().get(path, headers={"Origin": APP})).headers
        assert headers["access-control-allow-origin"] == APP
        exposed = {name.lower() for name in headers["access-control-expose-headers"].split(", ")}
        assert {"etag", "link", "location", "retry-after", "x-request-id"} <= exposed


@pytest.mark.parametrize(
    "origin",
    [
        *("https://evil.example.com", "http://app.example.com", f"{APP}.evil.com", f"{APP}:8443", f"{APP}/", "null"),
        *("https://app.example.com@evil.com", "*", ""),
    ],
)
async def test_other_origins_get_no_cors_headers(serve: Serve, origin: str) -> None:
    stack = await serve(CORS_ORIGINS=APP)
    client = stack.client()
    preflight = await client.options("/api/v1/resources", headers=PREFLIGHT | {"Origin": origin})
    assert_problem(preflight, 405, "method-not-allowed")
    for response in (preflight, await client.get("/livez", headers={"Origin": origin})):
        assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_cors_is_disabled_without_configured_origins(client: httpx.AsyncClient) -> None:
    response = await client.options("/api/v1/resources", headers=PREFLIGHT)
    assert_problem(response, 405, "method-not-allowed")
    assert not [name for name in response.headers if name.startswith("access-control-")]


# --- media types -----------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "application/json;q=0", "image/*, text/*;q=0.5"])
async def test_an_accept_header_that_excludes_json_is_not_acceptable(alice: Caller, accept: str) -> None:
    response = await alice.http.get("/api/v1/users/me", headers={"Accept": accept})
    assert_problem(response, 406, "not-acceptable")


@pytest.mark.parametrize(
    "accept", ["*/*", "application/*", "application/json", "text/html, */*;q=0.1", "APPLICATION/JSON; q=0.5", ""]
)
async def test_an_accept_header_that_allows_json_gets_json(alice: Caller, accept: str) -> None:
    response = await alice.http.get("/api/v1/users/me", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "content_type",
    [
        *("text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"),
        *("application/json; charset=iso-8859-1", 'application/json; charset="utf-16"', "application/jsonp", "json"),
        *("application/merge-patch+json", "text/json", "", "application/json, text/plain"),
    ],
)
async def test_a_body_that_is_not_utf_8_json_is_unsupported(alice: Caller, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    response = await alice.http.post("/api/v1/resources", content=b'{"type": "note", "data": {}}', headers=headers)
    assert_problem(response, 415, "unsupported-media-type")


async def test_a_body_without_a_content_type_is_unsupported(alice: Caller) -> None:
    response = await alice.http.post("/api/v1/resources", content=b'{"type": "note", "data": {}}')
    assert_problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "identity, gzip"])
async def test_a_compressed_body_is_unsupported(alice: Caller, coding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    body = gzip.compress(b'{"type": "note", "data": {}}')
    response = await alice.http.post("/api/v1/resources", content=body, headers=headers)
    assert_problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", "application/json;charset=UTF-8", 'application/json; charset="utf-8"'],
)
async def test_all_spellings_of_the_json_content_type_are_accepted(alice: Caller, content_type: str) -> None:
    headers = {"Content-Type": content_type, "Content-Encoding": "identity"}
    response = await alice.http.post("/api/v1/resources", content=b'{"type": "note", "data": {}}', headers=headers)
    assert response.status_code == 201


@pytest.mark.parametrize("content_type", ["application/json", "application/merge-patch+json"])
async def test_patch_accepts_a_merge_patch_with_both_content_types(alice: Caller, content_type: str) -> None:
    resource_id = await create(alice, {"type": "note", "data": {"a": 1}})
    response = await alice.http.patch(
        f"/api/v1/resources/{resource_id}", content=b'{"data": {"b": 2}}', headers={"Content-Type": content_type}
    )
    assert response.json()["data"] == {"a": 1, "b": 2}


# --- fields and parameters -------------------------------------------------------------------------


async def test_unknown_query_parameters_are_refused_and_named(alice: Caller) -> None:
    assert faults_of(await alice.http.get("/api/v1/resources?lmit=5&Sort=id&limit=5")) == ["Sort", "lmit"]
    assert faults_of(await alice.http.get("/api/v1/users/me?verbose=1")) == ["verbose"]
    assert faults_of(await alice.http.get("/livez?x")) == ["x"]
    assert faults_of(await alice.http.post("/api/v1/auth/logout?x=1")) == ["x"]


async def test_unknown_fields_are_refused_and_named(alice: Caller) -> None:
    body = {"type": "note", "data": {"anything": "goes"}, "Data": {}, "a/b": 1, "c~d": 2, "": 3}
    response = await alice.http.post("/api/v1/resources", json=body)
    assert faults_of(response) == ["/", "/Data", "/a~1b", "/c~0d"]


@pytest.mark.parametrize("query", ["limit=5&limit=5", "limit=5&limit=6"])
async def test_a_repeated_query_parameter_is_refused(alice: Caller, query: str) -> None:
    assert faults_of(await alice.http.get(f"/api/v1/resources?{query}")) == ["limit"]


@pytest.mark.parametrize("query", ["x=%ff", "%ff=x", "&".join(f"x{n}=1" for n in range(200)), "type=%ed%a0%80"])
async def test_a_query_that_is_not_utf_8_or_has_too_many_parameters_is_invalid(alice: Caller, query: str) -> None:
    assert_problem(await alice.http.get(f"/api/v1/resources?{query}"), 400, "invalid-request")


async def test_times_are_utc_with_milliseconds_and_ids_are_uuid_7_in_lower_case(alice: Caller) -> None:
    created = (await alice.http.post("/api/v1/resources", json={"type": "note", "data": {}})).json()
    session = (await alice.http.get("/api/v1/auth/sessions")).json()["items"][0]
    times = [created["created_at"], created["updated_at"], *(v for n, v in session.items() if n.endswith("_at"))]
    for time in times:
        assert len(time) == len("2026-11-22T10:15:30.123Z")
        assert time[10] == "T"
        assert time[19] == "."
        assert time[23] == "Z"
    for identifier in (created["id"], created["owner_id"], session["id"]):
        assert identifier == identifier.lower()
        assert identifier[14] == "7"


# --- compression and caching -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, zstd", "zstd"),
        ("gzip, deflate, br", "gzip"),
        ("zstd;q=0, gzip", "gzip"),
        ("identity", None),
        ("br", None),
        ("gzip;q=0", None),
    ],
)
async def test_a_large_response_is_compressed_as_the_client_accepts(
    alice: Caller, accepted: str, coding: str | None
) -> None:
    resource_id = await create(alice, LARGE)
    path = f"/api/v1/resources/{resource_id}"
    async with alice.http.stream("GET", path, headers={"Accept-Encoding": accepted}) as response:
        raw = b"".join([chunk async for chunk in response.aiter_raw()])
    assert response.headers.get("content-encoding") == coding
    assert int(response.headers["content-length"]) == len(raw)
    assert "Accept-Encoding" in response.headers["vary"]
    match coding:
        case "gzip":
            raw = gzip.decompress(raw)
        case "zstd":
            raw = zstandard.ZstdDecompressor().decompress(raw)
    assert json.loads(raw)["data"] == LARGE["data"]


async def test_a_small_response_is_not_compressed(client: httpx.AsyncClient) -> None:
    response = await client.get("/livez", headers={"Accept-Encoding": "gzip, zstd"})
    assert "content-encoding" not in response.headers


async def test_responses_with_tokens_are_neither_compressed_nor_cached(stack: Stack) -> None:
    caller = await stack.sign_up(metadata={"text": "la " * 1300})
    body = {"email": caller.email, "password": PASSWORD}
    client = stack.client(**{"Accept-Encoding": "gzip, zstd"})
    login = await client.post("/api/v1/auth/login", json=body)
    refresh = await client.post("/api/v1/auth/refresh", json={"refresh_token": login.json()["refresh_token"]})
    for response in (login, refresh):
        assert len(response.content) > 3000
        assert "content-encoding" not in response.headers
        assert response.headers["cache-control"] == "no-store"


async def test_responses_to_authenticated_requests_are_not_for_shared_caches(alice: Caller) -> None:
    resource_id = await create(alice, {"type": "note", "data": {}})
    for path in ("users/me", "resources", f"resources/{resource_id}", "auth/sessions", f"resources/{UNKNOWN_ID}"):
        control = (await alice.http.get(f"/api/v1/{path}")).headers["cache-control"]
        assert "private" in control or "no-store" in control
        assert "public" not in control


# --- HTTPS -----------------------------------------------------------------------------------------


async def test_https_responses_have_strict_transport_security_for_a_year(stack: Stack) -> None:
    client = stack.client(origin="https://api.example.com")
    for path in ("/livez", "/nothing", "/api/v1/users/me"):
        policy = (await client.get(path)).headers["strict-transport-security"]
        age = dict(part.strip().partition("=")[::2] for part in policy.split(";"))["max-age"]
        assert int(age) >= 365 * 24 * 60 * 60


@pytest.mark.parametrize("origin", ["http://api.example.com", "http://127.0.0.1:8000"])
async def test_production_refuses_plain_http(serve: Serve, origin: str) -> None:
    mail = "smtp://127.0.0.1:1"
    stack = await serve(ENVIRONMENT="production", PUBLIC_URL="https://api.example.com", MAIL_URL=mail)
    client = stack.client(origin=origin)
    body = {"email": "ada@example.com", "password": PASSWORD}
    for path in ("/api/v1/auth/login", "/nothing", "/api/users", "/docs"):
        response = await client.post(path, json=body)
        assert_problem(response, 403, "https-required")
        assert "location" not in response.headers
    assert (await client.get("/livez")).status_code == 200
    assert (await stack.client(origin="https://api.example.com").get("/docs")).status_code == 200


async def test_development_accepts_plain_http_only_on_loopback(stack: Stack) -> None:
    for origin in ("http://192.0.2.1:8000", "http://api.example.com"):
        assert_problem(await stack.client(origin=origin).get("/openapi.json"), 403, "https-required")
    for origin in ("http://localhost:8000", "http://127.0.0.1:8000"):
        assert (await stack.client(origin=origin).get("/openapi.json")).status_code == 200


# --- operations ------------------------------------------------------------------------------------


async def test_the_operational_endpoints_are_available(client: httpx.AsyncClient) -> None:
    for path in ("/livez", "/readyz"):
        response = await client.get(path)
        assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")


async def test_a_draining_server_is_not_ready_but_still_serves_requests(serve: Serve) -> None:
    stack = await serve()
    stack.kingpost.readiness.is_draining = True
    client = stack.client()
    response = await client.get("/readyz")
    assert_problem(response, 503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1
    assert (await client.get("/livez")).status_code == 200
    assert_problem(await client.get("/api/v1/users/me"), 401, "unauthenticated")


async def test_the_docs_page_works_offline(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "://" not in page.text.replace("http://www.w3.org/", "")
    for asset in ("docs.js", "swagger-ui-bundle.js", "swagger-ui.css"):
        assert f"/docs/{asset}" in page.text
        assert (await client.get(f"/docs/{asset}")).status_code == 200
