"""A text that means something to an interpreter is only a text: it comes back unchanged, and nothing else happens."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.machines import make_key
from tests.api.stack import PASSWORD, UNKNOWN_ID, Caller, Stack, assert_problem, faults_of

TEXTS = [
    "Robert'); DROP TABLE users; --",
    "' OR '1'='1",
    '" OR ""="',
    "1; UPDATE users SET roles = '[\"admin\"]'",
    "\\'; SELECT pg_sleep(9); --",
    "$1 ?1 :name %(name)s {name} %s",
    "$$ || pg_read_file('/etc/passwd') || $$",
    "<script>alert(1)</script>",
    "</script><!--",
    "{{ 7 * 7 }}${7*7}#{7*7}<%= 7*7 %>",
    '=HYPERLINK("https://evil.example")',
    "$(id) `id` | id; id && id",
    "../../etc/passwd",
    "a\r\nSet-Cookie: x=1\r\n\r\n<html>",
    "__proto__",
    "*)(uid=*))(|(uid=*",
    "\u2028\u2029\u202e\x1b[2J",
]


@pytest.mark.parametrize("text", TEXTS)
async def test_a_text_comes_back_as_it_was_sent(stack: Stack, text: str) -> None:
    caller = await stack.sign_up(name=text[:200], metadata={text: text})
    document = {text: text, "list": [text, {text: [text]}]}
    created = await caller.http.post("/api/v1/resources", json={"type": "note", "data": document})
    assert created.status_code == 201
    key = await make_key(stack, caller, ["users:read"], name=text[:100])
    assert key.created["name"] == text[:100]
    account: dict[str, Any] = (await caller.http.get("/api/v1/users/me")).json()
    assert (account["name"], account["metadata"], account["roles"]) == (text[:200], {text: text}, ["user"])
    listed = await caller.http.get("/api/v1/resources", params={"owner": "me"})
    (item,) = listed.json()["items"]
    assert (item, item["data"]) == (created.json(), document)
    exported = (await caller.http.get("/api/v1/users/me/export")).json()
    assert exported["user"]["name"] == text[:200]
    for response in (created, listed):
        assert response.headers["content-type"] == "application/json"
        assert "set-cookie" not in response.headers
    pointer = f"/data/{text.replace('~', '~0').replace('/', '~1')}"
    patched = await caller.http.patch(
        created.headers["location"],
        content=json.dumps([{"op": "replace", "path": pointer, "value": text * 2}]),
        headers={"Content-Type": "application/json-patch+json"},
    )
    assert patched.json()["data"] == document | {text: text * 2}


@pytest.mark.parametrize("text", TEXTS)
async def test_a_text_in_a_parameter_selects_nothing(alice: Caller, text: str) -> None:
    for name in ("sort", "type", "owner", "limit", "cursor", "count", text):
        assert faults_of(await alice.http.get("/api/v1/resources", params={name: text}))
    response = await alice.http.get(f"/api/v1/resources/{quote(text, safe='')}")
    assert response.status_code in (400, 404)
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize("text", TEXTS)
async def test_a_text_in_credentials_signs_nobody_in(stack: Stack, alice: Caller, text: str) -> None:
    client = stack.client()
    for email, password in ((text, PASSWORD), (alice.email, text), (f"{alice.email}{text}", PASSWORD)):
        refused = await client.post("/api/v1/auth/login", json={"email": email, "password": password})
        assert refused.status_code in (401, 429)
    forged = await client.post("/api/v1/auth/refresh", json={"refresh_token": text})
    assert forged.status_code in (400, 401)
    reset = {"token": text, "new_password": "another battery staple"}
    assert faults_of(await client.post("/api/v1/auth/password/reset", json=reset)) == ["/token"]
    printable = text.encode("ascii", "ignore").replace(b"\r\n", b" ").replace(b"\x1b", b"")
    bearer = await client.get("/api/v1/users/me", headers={b"Authorization": b"Bearer " + printable})
    assert_problem(bearer, 401, "unauthenticated")


async def test_a_hint_in_a_problem_repeats_no_markup(alice: Caller) -> None:
    response = await alice.http.get("/api/v1/resources/%3Cscript%3Ealert(1)%3C%2Fscript%3E/")
    problem = assert_problem(response, 404, "not-found")
    assert "script" not in problem["detail"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert (await alice.http.get(f"/problems/%3Cscript%3E{UNKNOWN_ID}")).status_code == 404
