"""Requests that mean the same in another spelling are answered alike; what means something else is not."""

import httpx
import pytest

from tests.api.stack import PASSWORD, UNKNOWN_ID, Caller, Stack, assert_problem, faults_of

# --- paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/users/{}%2Fexport", "/api%2Fv1/users/{}", "/api/v1/users%2f{}", "/docs%2f"])
async def test_an_encoded_slash_does_not_separate_segments(alice: Caller, path: str) -> None:
    response = await alice.http.get(path.format(alice.id))
    assert response.status_code in (400, 404)
    assert "email" not in response.json()


async def test_an_encoded_letter_is_that_letter(alice: Caller) -> None:
    response = await alice.http.get("/api/v1/%75sers/%6de")
    assert (response.status_code, response.json()["id"]) == (200, alice.id)


@pytest.mark.parametrize(
    "path", ["/api/v1/resources/", "/api/resources/", f"/api/v1/resources/{UNKNOWN_ID}/", "/docs/"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_slash_at_the_end_gets_a_hint(alice: Caller, method: str, path: str) -> None:
    problem = assert_problem(await alice.http.request(method, path), 404, "not-found")
    assert problem["detail"].endswith(f"without the slash at its end: {path.rstrip('/')}")


@pytest.mark.parametrize("path", ["/api/v1/nothing/", "/", "//"])
async def test_only_a_path_that_exists_without_the_slash_gets_a_hint(alice: Caller, path: str) -> None:
    assert "slash" not in assert_problem(await alice.http.get(path), 404, "not-found")["detail"]


async def test_me_stands_for_ones_own_id_in_every_path_below_users(stack: Stack) -> None:
    caller = await stack.sign_up()
    for prefix in ("/api/users/me", "/api/v1/users/me"):
        assert (await caller.http.get(prefix)).json()["id"] == caller.id
        assert (await caller.http.get(f"{prefix}/export")).json()["user"]["id"] == caller.id
        changed = await caller.http.patch(prefix, json={"name": prefix}, headers={"If-Match": "*"})
        assert (changed.status_code, changed.json()["name"]) == (200, prefix)
    replaced = await caller.http.put("/api/v1/users/me", json={"email": caller.email, "name": "Ada"})
    assert (replaced.status_code, replaced.json()["id"]) == (200, caller.id)
    passwords = {"current_password": PASSWORD, "new_password": "another battery staple"}
    assert (await caller.http.put("/api/v1/users/me/password", json=passwords)).status_code == 204
    assert (await stack.client().patch("/api/v1/users/me", json={})).status_code == 401
    assert (await caller.http.delete("/api/v1/users/me")).status_code == 204


@pytest.mark.parametrize("path", ["/api/v1/resources/me", "/api/v1/auth/sessions/me", "/api/v1/users/ME"])
async def test_me_stands_for_nothing_elsewhere(alice: Caller, path: str) -> None:
    method = "DELETE" if "sessions" in path else "GET"
    assert faults_of(await alice.http.request(method, path)) == ["id"]


# --- ids in capitals -------------------------------------------------------------------------------


async def test_ids_in_capitals_are_accepted_in_paths_and_queries(alice: Caller, admin: Caller) -> None:
    created = await alice.http.post("/api/v1/resources", json={"type": "capitals", "data": {}})
    resource_id = created.json()["id"]
    found = await alice.http.get(f"/api/v1/resources/{resource_id.upper()}")
    assert found.json()["id"] == resource_id
    for path, client in (
        (f"/api/v1/resources?type=capitals&owner={alice.id.upper()}", alice.http),
        (f"/api/v1/audit?actor={alice.id.upper()}", admin.http),
        (f"/api/v1/audit?target={alice.id.upper()}", admin.http),
    ):
        listed = await client.get(path)
        assert listed.json()["items"], path
        assert listed.json() == (await client.get(path.replace(alice.id.upper(), alice.id))).json()


async def test_a_cursor_is_good_for_both_spellings_of_an_id(alice: Caller) -> None:
    for _ in range(2):
        await alice.http.post("/api/v1/resources", json={"type": "note", "data": {}})
    cursor = (await alice.http.get(f"/api/v1/resources?limit=1&owner={alice.id}")).json()["next_cursor"]
    response = await alice.http.get(f"/api/v1/resources?owner={alice.id.upper()}&cursor={cursor}")
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/api/v1/resources?owner=x", "The parameter `owner` must be `me` or a UUID"),
        ("/api/v1/audit?actor=x", "The parameter `actor` must be a UUID"),
        (f"/api/v1/audit?target={UNKNOWN_ID}%0A", "The parameter `target` must be a UUID"),
    ],
)
async def test_an_id_in_a_query_must_be_one(admin: Caller, path: str, detail: str) -> None:
    problem = assert_problem(await admin.http.get(path), 400, "invalid-request")
    assert problem["detail"] == detail


# --- headers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Accept", "Accept-Encoding", "If-Match", "X-Request-ID", "Origin", "Content-Encoding"]
)
async def test_a_header_without_a_value_counts_as_absent(alice: Caller, name: str) -> None:
    request = alice.http.build_request("POST", "/api/v1/resources", json={"type": "note", "data": {}})
    request.headers[name] = ""
    assert (await alice.http.send(request)).status_code == 201


async def test_an_empty_authorization_is_answered_as_none(stack: Stack) -> None:
    none = assert_problem(await stack.client().get("/api/v1/users/me"), 401, "unauthenticated")
    empty = await stack.client().get("/api/v1/users/me", headers={"Authorization": ""})
    assert assert_problem(empty, 401, "unauthenticated")["detail"] == none["detail"]


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("/docs/swagger-ui.css", "text/css", 200),
        ("/docs/swagger-ui.css", "text/css,*/*;q=0.1", 200),
        ("/docs/swagger-ui.css", "text/*", 200),
        ("/docs/swagger-ui.css", "text/javascript", 406),
        ("/docs/docs.js", "text/javascript", 200),
        ("/mail/page.css", "text/css", 200),
        ("/mail/page.js", "text/css", 406),
        ("/mail/icon.svg", "image/svg+xml", 200),
        ("/docs/nothing.css", "text/css", 404),
    ],
)
async def test_static_files_are_negotiated_by_their_own_media_type(
    client: httpx.AsyncClient, path: str, accept: str, status: int
) -> None:
    assert (await client.get(path, headers={"Accept": accept})).status_code == status


@pytest.mark.parametrize("accept", ["text/html", "image/png", "application/json;q=0"])
async def test_a_response_without_a_body_needs_no_accept(alice: Caller, accept: str) -> None:
    created = await alice.http.post("/api/v1/resources", json={"type": "note", "data": {}})
    path = created.headers["location"]
    assert (await alice.http.get(path, headers={"Accept": accept})).status_code == 406
    assert (await alice.http.delete(path, headers={"Accept": accept})).status_code == 204
