"""`GET /users/{id}/export`: all stored data about an account, except secrets that give access to it."""

import base64
import json
import re
from typing import Any

import msgspec
import pytest
from sqlalchemy import LargeBinary

from kingpost import clock
from kingpost.accounts.wing import EXPORT_ROUTES
from kingpost.storage.columns import Document, Identifier, Time, metadata
from kingpost.storage.opening import open_database
from tests.api.stack import ADDRESS, PASSWORD, UNKNOWN_ID, Caller, Serve, Stack, assert_problem
from tests.storage.traces import POINTERS, TABLES_OF_ACCOUNTS, leave_traces

EXPORT_FIELDS = {
    "users": "user",
    "sessions": "sessions",
    "api_keys": "api_keys",
    "second_factors": "second_factor",
    "recovery_codes": "second_factor",
    "one_time_tokens": "one_time_tokens",
    "jobs": "jobs",
    "audit": "audit",
    "resources": "resources",
}
"""For each table with data about accounts, the field of the export that contains its rows."""
NOT_EXPORTED = {
    # The normalised address: a duplicate of the address itself.
    "one_time_tokens.email_key",
    # Errors of the mail server, for operators.
    "jobs.last_error",
}
MARKER = "Mrs. Lovelace"


async def export(caller: Caller, user_id: str | None = None) -> Any:
    response = await caller.http.get(f"/api/v1/users/{user_id or caller.id}/export")
    assert response.status_code == 200, response.text
    # The response has exactly the documented fields.
    msgspec.json.decode(response.content, type=EXPORT_ROUTES[0].result)
    return response.json()


async def test_an_export_is_a_json_document_for_download(stack: Stack) -> None:
    user = await stack.sign_up(name="Ada", metadata={"theme": "dark"})
    response = await user.http.get(f"/api/v1/users/{user.id}/export")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-disposition"] == f'attachment; filename="account-{user.id}.json"'
    assert response.headers["cache-control"].startswith("private")
    document = response.json()
    assert document.keys() == {*EXPORT_FIELDS.values(), "exported_at"}
    assert document["user"] == (await user.http.get("/api/v1/users/me")).json()
    assert document["exported_at"] <= clock.now()
    (session,) = document["sessions"]
    assert (session["id"], session["address"], session["ended_at"]) == (user.session_id, ADDRESS, None)
    assert document["resources"] == []
    assert document["second_factor"] is None


def test_every_table_with_data_about_accounts_is_listed() -> None:
    assert {"users", *(table.name for table in TABLES_OF_ACCOUNTS)} == EXPORT_FIELDS.keys()


async def test_an_export_contains_all_data_of_all_tables_except_secrets(serve: Serve) -> None:
    stack = await serve()
    user = await stack.sign_up()
    database = await open_database(stack.kingpost.settings.database_url)
    await leave_traces(database, user.id, MARKER)
    await database.close()
    document = (await user.http.get(f"/api/v1/users/{user.id}/export")).json()
    text = json.dumps(document)
    places, documents = set(), set()
    for table in TABLES_OF_ACCOUNTS:
        for column in table.columns:
            if column.type is Document and table.name != "audit":
                documents.add(EXPORT_FIELDS[table.name])
            elif column.type not in (Identifier, Time, Document) and str(column.type) in ("TEXT", "text"):
                places.add(str(column))
    assert {place for place in places if place not in text} == NOT_EXPORTED
    for field in documents:
        assert MARKER in json.dumps(document[field])
    # Traces in binary columns, which contain hashes and encrypted secrets, end with an id.
    assert any(isinstance(column.type, LargeBinary) for table in TABLES_OF_ACCOUNTS for column in table.columns)
    assert not re.search(rf"{re.escape(MARKER)} [0-9a-f]{{8}}-", text)
    assert base64.b64encode(MARKER.encode()).decode()[:-2] not in text
    assert document["second_factor"]["recovery_codes_left"] == 1
    assert document["second_factor"]["confirmed_at"] is not None


def test_every_pointer_is_an_existing_column() -> None:
    assert {c.name for t in metadata.sorted_tables for c in t.columns if c.name in POINTERS} == POINTERS


async def test_an_export_contains_no_secrets_of_the_account(stack: Stack) -> None:
    user = await stack.sign_up()
    credentials = await stack.kingpost.stores.credentials.find_credentials(user.email)
    assert credentials is not None
    text = json.dumps(await export(user))
    for secret in (PASSWORD, credentials.password_hash, user.refresh_token, user.access_token, "argon2"):
        assert secret not in text


async def test_an_export_contains_exactly_the_resources_of_the_account_oldest_first(
    stack: Stack, alice: Caller
) -> None:
    user = await stack.sign_up()
    created = []
    for n in range(23):
        body = {"type": "note", "data": {"n": n, "text": 'a "quoted" 🦊 ],{'}}
        created.append((await user.http.post("/api/v1/resources", json=body)).json())
        await alice.http.post("/api/v1/resources", json=body)
    assert (await export(user))["resources"] == created


async def test_audit_entries_by_the_account_come_before_entries_by_others_about_it(stack: Stack, admin: Caller) -> None:
    user = await stack.sign_up()
    await user.http.patch(f"/api/v1/users/{user.id}", json={"name": "Ada"})
    await admin.http.patch(f"/api/v1/users/{user.id}", json={"name": "Mrs. King"})
    body = {"email": user.email, "password": "a wrong password"}
    await stack.client().post("/api/v1/auth/login", json=body)
    entries = (await export(user))["audit"]
    own = [entry for entry in entries if entry["actor_id"] == user.id]
    others = [entry for entry in entries if entry["actor_id"] != user.id]
    assert entries == own + others
    assert len({entry["id"] for entry in entries}) == len(entries)
    assert "user.changed" in [entry["action"] for entry in own]
    assert "user.exported" in [entry["action"] for entry in own]
    assert all(entry["target_id"] == user.id for entry in others)
    # The IP address of a failed anonymous login is exported; the IP address of an administrator is not.
    assert [(entry["action"], entry["address"]) for entry in others if entry["actor_id"] == admin.id] == [
        ("user.changed", None)
    ]
    assert ("session.refused", ADDRESS) in [(entry["action"], entry["address"]) for entry in others]


async def test_exports_are_audited_with_their_actor(stack: Stack, admin: Caller, bob: Caller) -> None:
    user = await stack.sign_up()
    await export(user)
    await export(admin, user.id)
    await bob.http.get(f"/api/v1/users/{user.id}/export")
    query = {"target": user.id, "action": "user.exported", "sort": "id"}
    items = (await admin.http.get("/api/v1/audit", params=query)).json()["items"]
    assert [(item["actor_id"], item["address"]) for item in items] == [(user.id, ADDRESS), (admin.id, ADDRESS)]


async def test_only_the_account_itself_and_administrators_can_export_it(
    stack: Stack, alice: Caller, bob: Caller
) -> None:
    path = f"/api/v1/users/{alice.id}/export"
    assert_problem(await stack.client().get(path), 401, "unauthenticated")
    assert_problem(await bob.http.get(path), 403, "forbidden")
    assert_problem(await bob.http.get(f"/api/v1/users/{UNKNOWN_ID}/export"), 404, "not-found")


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "identity"])
async def test_an_export_is_complete_in_every_content_coding(alice: Caller, encoding: str) -> None:
    response = await alice.http.get(f"/api/v1/users/{alice.id}/export", headers={"Accept-Encoding": encoding})
    assert response.headers.get("content-encoding", "identity") == encoding
    assert response.json()["user"]["id"] == alice.id


async def test_a_head_request_for_an_export_returns_no_body(alice: Caller) -> None:
    response = await alice.http.head(f"/api/v1/users/{alice.id}/export")
    assert response.status_code == 200
    assert "attachment" in response.headers["content-disposition"]
    assert response.content == b""
