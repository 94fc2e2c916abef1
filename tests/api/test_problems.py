"""Section 2 of the contract: problem responses, their pages, and the report of all faults together."""

from typing import Any

import httpx
import pytest

from tests.api.stack import PASSWORD, UNKNOWN_ID, Caller, MakeUser, Stack, assert_problem, faults_of

SLUGS = {
    "invalid-request": 400,
    "unauthenticated": 401,
    "invalid-credentials": 401,
    "mfa-required": 401,
    "forbidden": 403,
    "https-required": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "not-acceptable": 406,
    "conflict": 409,
    "version-mismatch": 412,
    "too-large": 413,
    "unsupported-media-type": 415,
    "idempotency-key-reused": 422,
    "precondition-required": 428,
    "rate-limited": 429,
    "headers-too-large": 431,
    "internal-error": 500,
    "unavailable": 503,
}


@pytest.mark.parametrize(("slug", "status"), SLUGS.items())
async def test_every_problem_has_a_page_that_explains_it(client: httpx.AsyncClient, slug: str, status: int) -> None:
    page = await client.get(f"/problems/{slug}", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert slug in page.text
    assert str(status) in page.text
    assert len(page.text) > 200


async def test_the_type_of_a_problem_links_to_its_page(client: httpx.AsyncClient) -> None:
    problem = assert_problem(await client.get("/api/v1/users/me"), 401, "unauthenticated")
    assert (await client.get(problem["type"])).status_code == 200


async def test_a_problem_contains_the_path_and_the_request_id(alice: Caller) -> None:
    path = f"/api/v1/resources/{UNKNOWN_ID}"
    response = await alice.http.get(path, headers={"X-Request-ID": "mine"})
    problem = assert_problem(response, 404, "not-found")
    assert (problem["instance"], problem["request_id"]) == (path, "mine")
    assert "errors" not in problem


async def test_faults_against_the_schema_and_against_rules_are_reported_together(client: httpx.AsyncClient) -> None:
    body = {"email": "no address", "password": "short", "nmae": "Ada", "metadata": {"text": "x" * 5000}}
    assert faults_of(await client.post("/api/v1/users", json=body)) == ["/email", "/metadata", "/nmae", "/password"]


async def test_several_faults_against_rules_are_reported_together(client: httpx.AsyncClient) -> None:
    body = {"email": "no address", "password": "short"}
    assert faults_of(await client.post("/api/v1/users", json=body)) == ["/email", "/password"]


async def test_each_fault_is_reported_once(client: httpx.AsyncClient) -> None:
    body = {"email": f"{'x' * 300}@example.com", "password": "x" * 300, "name": "x" * 300, "x": 1}
    assert faults_of(await client.post("/api/v1/users", json=body)) == ["/email", "/name", "/password", "/x"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["/email", "/password"]),
        ({"email": 5, "password": None, "name": [], "metadata": "x"}, ["/email", "/metadata", "/name", "/password"]),
        ({"email": "", "password": ""}, ["/email", "/password"]),
        ({"email": "ada@example.com", "password": "ada is 12 long"}, ["/password"]),
        ({"email": "ada@example.com", "password": "password1"}, ["/password"]),
        ({"email": "ada@example.com", "password": PASSWORD, "roles": ["admin"]}, ["/roles"]),
        ({"email": "ada@example.com", "password": PASSWORD, "id": UNKNOWN_ID, "status": "active"}, ["/id", "/status"]),
    ],
)
async def test_faults_of_a_sign_up_are_reported_by_field(
    client: httpx.AsyncClient, body: dict[str, Any], expected: list[str]
) -> None:
    assert faults_of(await client.post("/api/v1/users", json=body)) == expected


async def test_faults_of_an_account_change_are_reported_by_field(alice: Caller) -> None:
    path = f"/api/v1/users/{alice.id}"
    body = {"email": "no address", "metadata": {"text": "x" * 5000}}
    for method in ("PUT", "PATCH"):
        response = await alice.http.request(method, path, json=body)
        assert faults_of(response) == ["/current_password", "/email", "/metadata"]
        response = await alice.http.request(method, path, json=body | {"nmae": "Ada", "name": 5})
        assert {"/email", "/metadata", "/name", "/nmae"} <= set(faults_of(response))


async def test_a_weak_new_password_is_reported_together_with_other_faults(alice: Caller) -> None:
    body = {"new_password": "password", "curent_password": PASSWORD}
    response = await alice.http.put(f"/api/v1/users/{alice.id}/password", json=body)
    assert faults_of(response) == ["/curent_password", "/current_password", "/new_password"]


async def test_all_invalid_query_parameters_are_reported(alice: Caller) -> None:
    query = "limit=0&page=x&count=about&type=1st&owner=you&lmit=5"
    expected = ["count", "limit", "lmit", "owner", "page", "type"]
    assert faults_of(await alice.http.get(f"/api/v1/resources?{query}")) == expected


async def test_a_body_that_is_not_an_object_is_reported_at_the_root(alice: Caller) -> None:
    for body in (b"[]", b'"text"', b"5", b"null", b"true"):
        headers = {"Content-Type": "application/json"}
        assert faults_of(await alice.http.post("/api/v1/resources", content=body, headers=headers)) == [""]


@pytest.mark.parametrize(
    "body",
    [b" ", b"{", b'{"type": "note",}', b"{'type': 'note'}", b'{"type": "note", "data": {}} x', b"\xef\xbb\xbf{}"],
)
async def test_malformed_json_is_reported_at_the_root(alice: Caller, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert faults_of(await alice.http.post("/api/v1/resources", content=body, headers=headers)) == [""]


async def test_responses_never_repeat_a_refused_password(client: httpx.AsyncClient, make_user: MakeUser) -> None:
    secret = "hunter2-Zq"
    caller = await make_user()
    password_path = f"/api/v1/users/{caller.id}/password"
    responses = [
        await client.post("/api/v1/users", json={"email": "no", "password": secret[:7]}),
        await client.post("/api/v1/users", json={"email": f"{secret}@example.com", "password": secret, "x": 1}),
        await client.post("/api/v1/users", json={"email": "a@example.com", "password": [secret]}),
        await client.post("/api/v1/users", content=f'{{"password": "{secret}", "password": "{secret}"}}'),
        await client.post("/api/v1/auth/login", json={"email": caller.email, "password": secret}),
        await client.post("/api/v1/auth/login", json={"email": caller.email, "password": {"is": secret}}),
        await client.post("/api/v1/auth/login", json={"email": caller.email, "password": f"{secret}\0"}),
        await caller.http.put(password_path, json={"current_password": secret, "new_password": "new password!"}),
        await caller.http.put(password_path, json={"current_password": PASSWORD, "new_password": secret[:7]}),
    ]
    for response in responses:
        assert response.is_client_error
        assert secret[:7] not in response.text


async def test_problems_never_repeat_a_refused_value(alice: Caller) -> None:
    headers = {"Content-Type": "application/json", "If-Match": "Zq<script>", "X-Request-ID": "Zq<script>"}
    created = await alice.http.post("/api/v1/resources", json={"type": "note", "data": {}})
    path = created.headers["location"]
    for body in (b'{"data": "Zq<script>"}', b'{"data": {"a": Zq<script>}}', b'{"data": {}, "type": "Zq<script>"}'):
        response = await alice.http.put(path, content=body, headers=headers)
        assert response.status_code == 400
        assert "Zq" not in response.text


async def test_an_internal_error_reveals_only_the_request_id(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    caller = await stack.sign_up()
    await stack.execute(f"UPDATE users SET roles = '\"no list\"' WHERE id = '{caller.id}'")
    caller.http.event_hooks = {}
    response = await caller.http.get("/api/v1/users/me")
    await stack.execute(f"UPDATE users SET roles = '[]' WHERE id = '{caller.id}'")
    problem = assert_problem(response, 500, "internal-error")
    assert problem.keys() == {"type", "title", "status", "detail", "instance", "request_id"}
    assert "list" not in response.text
    assert problem["request_id"] in caplog.text


async def test_a_client_disconnect_is_not_logged_as_an_error(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    sent: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"em', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/api/v1/users", "headers": headers}
    headers.append((b"content-length", b"100"))
    scope |= {"raw_path": b"/api/v1/users", "query_string": b""}
    await stack.app(
        {**scope, "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 8000), "client": None}, receive, send
    )
    assert not caplog.records
    assert not sent
