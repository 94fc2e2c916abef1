"""Preconditions are evaluated in the same way for everything that has an entity tag (RFC 9110, section 13)."""

import gzip
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from tests.api.stack import Caller, MakeUser, Stack, assert_problem, faults_of


class Thing(NamedTuple):
    """A resource or an account: its path, its owner, and bodies of writes that change it."""

    path: str
    owner: Caller
    put: dict[str, Any]
    patch: dict[str, Any]

    async def send(self, method: str, **headers: str) -> httpx.Response:
        body = {"PUT": self.put, "PATCH": self.patch}.get(method)
        return await self.owner.http.request(method, self.path, json=body, headers=headers)


async def a_resource(make_user: MakeUser) -> Thing:
    owner = await make_user()
    data = {"text": "word " * 500}
    created = await owner.http.post("/api/v1/resources", json={"type": "note", "data": data})
    return Thing(created.headers["location"], owner, {"data": data | {"n": 2}}, {"data": {"n": 1}})


async def an_account(make_user: MakeUser) -> Thing:
    metadata = {"text": "word " * 500}
    owner = await make_user(metadata=metadata)
    body = {"email": owner.email, "name": "New", "metadata": metadata}
    return Thing(f"/api/v1/users/{owner.id}", owner, body, {"name": "Newer"})


@pytest_asyncio.fixture(loop_scope="session", params=[a_resource, an_account], ids=["resource", "account"])
async def thing(request: pytest.FixtureRequest, make_user: MakeUser) -> Thing:
    make: Callable[[MakeUser], Awaitable[Thing]] = request.param
    return await make(make_user)


WRITES = ["PUT", "PATCH", "DELETE"]


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("condition", ["*", '"1"', 'W/"1"', '"7", "1-gzip"'])
async def test_a_write_is_refused_if_if_none_match_names_the_version(thing: Thing, method: str, condition: str) -> None:
    before = (await thing.send("GET")).json()
    refused = await thing.send(method, **{"If-None-Match": condition})
    problem = assert_problem(refused, 412, "version-mismatch")
    assert problem["current"] == before
    assert "If-None-Match" in problem["detail"]
    assert (await thing.send("GET")).json() == before


@pytest.mark.parametrize(("method", "status"), [("PUT", 200), ("PATCH", 200), ("DELETE", 204)])
@pytest.mark.parametrize("condition", ['"2"', 'W/"3"', '"x"'])
async def test_a_write_takes_effect_if_if_none_match_names_other_versions(
    thing: Thing, method: str, status: int, condition: str
) -> None:
    assert (await thing.send(method, **{"If-None-Match": condition})).status_code == status


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_read_is_refused_if_if_match_names_other_versions(thing: Thing, method: str) -> None:
    for condition in ('"1"', "*", '"1-zstd"', '"7", "1"'):
        assert (await thing.send(method, **{"If-Match": condition})).status_code == 200
    for condition in ('"2"', 'W/"1"', '"x"'):
        assert (await thing.send(method, **{"If-Match": condition})).status_code == 412


@pytest.mark.parametrize("method", ["GET", *WRITES])
async def test_if_match_is_evaluated_before_if_none_match(thing: Thing, method: str) -> None:
    refused = await thing.send(method, **{"If-Match": '"7"', "If-None-Match": '"1"'})
    assert refused.status_code == 412
    both = await thing.send(method, **{"If-Match": '"1"', "If-None-Match": '"1"'})
    assert both.status_code == (304 if method == "GET" else 412)


@pytest.mark.parametrize("method", ["GET", *WRITES])
@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
async def test_a_malformed_precondition_is_named(thing: Thing, method: str, header: str) -> None:
    assert faults_of(await thing.send(method, **{header: "1"})) == [header]


@pytest.mark.parametrize("method", ["GET", *WRITES])
async def test_an_empty_precondition_counts_as_absent(thing: Thing, method: str) -> None:
    response = await thing.send(method, **{"If-Match": "", "If-None-Match": ""})
    assert response.status_code in (200, 204)


@pytest.mark.parametrize("method", WRITES)
async def test_a_weak_tag_never_matches_and_the_problem_says_what_to_send(thing: Thing, method: str) -> None:
    refused = await thing.send(method, **{"If-Match": 'W/"1-gzip"'})
    problem = assert_problem(refused, 412, "version-mismatch")
    assert problem["detail"].endswith('Send the `version` in quotes instead: "1"')


@pytest.mark.parametrize("method", ["GET", *WRITES])
async def test_strangers_learn_nothing_from_preconditions(thing: Thing, stack: Stack, method: str) -> None:
    stranger = await stack.sign_up()
    for client, status in ((stranger.http, 403), (stack.client(), 401)):
        for header in ("If-Match", "If-None-Match"):
            for condition in ("*", '"1"', '"2"', "malformed"):
                response = await client.request(
                    method,
                    thing.path,
                    json={"unknown": 1} if method in ("PUT", "PATCH") else None,
                    headers={header: condition},
                )
                assert response.status_code == status
                assert "etag" not in response.headers
                assert "current" not in response.json()


# --- entity tags and content codings ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept_encoding", "tag"),
    [("identity", '"1"'), ("gzip", '"1-gzip"'), ("zstd", '"1-zstd"'), ("gzip, zstd", '"1-zstd"')],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_each_content_coding_has_its_own_tag(thing: Thing, method: str, accept_encoding: str, tag: str) -> None:
    response = await thing.send(method, **{"Accept-Encoding": accept_encoding})
    assert response.headers["etag"] == tag
    again = await thing.send(method, **{"Accept-Encoding": accept_encoding, "If-None-Match": tag})
    assert (again.status_code, again.headers["etag"], again.content) == (304, tag, b"")


@pytest.mark.parametrize("tag", ['"1"', '"1-gzip"', '"1-zstd"'])
async def test_a_tag_of_any_coding_is_good_for_a_write_and_for_a_read(thing: Thing, tag: str) -> None:
    read = await thing.send("GET", **{"Accept-Encoding": "gzip", "If-None-Match": tag})
    assert (read.status_code, read.headers["etag"]) == (304, tag)
    written = await thing.send("PUT", **{"Accept-Encoding": "gzip", "If-Match": tag})
    assert (written.status_code, written.headers["etag"]) == (200, '"2-gzip"')
    assert (await thing.send("PUT", **{"If-Match": tag})).status_code == 412


async def test_a_star_is_answered_with_the_tag_of_the_negotiated_coding(thing: Thing) -> None:
    response = await thing.send("GET", **{"Accept-Encoding": "zstd", "If-None-Match": "*"})
    assert (response.status_code, response.headers["etag"]) == (304, '"1-zstd"')
    assert "content-encoding" not in response.headers


async def test_a_short_body_is_not_compressed_and_has_the_plain_tag(alice: Caller) -> None:
    created = await alice.http.post("/api/v1/resources", json={"type": "note", "data": {}})
    assert created.headers["etag"] == '"1"'


async def test_a_created_resource_has_the_tag_of_its_response(alice: Caller) -> None:
    body = {"type": "note", "data": {"text": "word " * 500}}
    request = alice.http.build_request("POST", "/api/v1/resources", json=body, headers={"Accept-Encoding": "gzip"})
    response = await alice.http.send(request, stream=True)
    raw = b"".join([chunk async for chunk in response.aiter_raw()])
    assert (response.status_code, response.headers["etag"]) == (201, '"1-gzip"')
    assert b"word word" in gzip.decompress(raw)
