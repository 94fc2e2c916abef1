"""Section 5 of the contract: single resources."""

import asyncio
import json
from typing import Any

import pytest

from tests.api.stack import UNKNOWN_ID, Caller, MakeUser, assert_problem, faults_of

WRITES: list[tuple[str, dict[str, Any] | None]] = [("PUT", {"data": {}}), ("PATCH", {"data": {}}), ("DELETE", None)]
FIELDS = {"id", "type", "owner_id", "data", "version", "created_at", "updated_at"}
DOCUMENTS: list[dict[str, Any]] = [
    {},
    {"title": "Amélie ✨ 映画", "year": 2001, "rating": 8.3, "seen": True, "sequel": None, "cast": []},
    {"": "empty name", "a.b": 1, "a/b~c": 2, "é": {"ü": ["𝄞", "\u2028", "\u007f", "\ufeff", '"\\/']}},
    {"numbers": [0, -1, 2**53, -(2**53), 0.1, 1e-7, 1.7976931348623157e308, 5e-324, 123456789.123456789, 1e22]},
    {"nested": [[[{"deep": [None, [], {}, ""]}]]]},
    {"control": "tab\tline\nreturn\rbell\x07escape\x1b", "null": "null", "true": "true"},
    {"__proto__": {"admin": True}, "constructor": 1, "$ref": "#/x", "$where": "1", "id": "mine", "version": 99},
    {"b": 1, "a": 2, "C": 3},
]


async def create(caller: Caller, data: dict[str, Any] | None = None, kind: str = "note") -> dict[str, Any]:
    response = await caller.http.post("/api/v1/resources", json={"type": kind, "data": data or {}})
    assert response.status_code == 201, response.text
    resource: dict[str, Any] = response.json()
    return resource


def path_of(resource: dict[str, Any]) -> str:
    return f"/api/v1/resources/{resource['id']}"


# --- creating and reading --------------------------------------------------------------------------


async def test_a_new_resource_is_returned_with_all_fields_and_belongs_to_its_creator(alice: Caller) -> None:
    response = await alice.http.post("/api/v1/resources", json={"type": "movie", "data": {"title": "Alien"}})
    assert response.status_code == 201
    resource = response.json()
    assert resource.keys() == FIELDS
    assert (resource["type"], resource["data"], resource["version"]) == ("movie", {"title": "Alien"}, 1)
    assert resource["owner_id"] == alice.id
    assert resource["created_at"] == resource["updated_at"]
    assert response.headers["location"] == path_of(resource)
    assert response.headers["etag"] == '"1"'
    read = await alice.http.get(response.headers["location"])
    assert (read.status_code, read.json(), read.headers["etag"]) == (200, resource, '"1"')


@pytest.mark.parametrize("data", DOCUMENTS, ids=range(len(DOCUMENTS)))
async def test_data_is_returned_exactly_as_it_was_sent(alice: Caller, data: dict[str, Any]) -> None:
    resource = await create(alice, data)
    for shown in (resource, (await alice.http.get(path_of(resource))).json()):
        assert _exactly(shown["data"]) == _exactly(data)
    replaced = await alice.http.put(path_of(resource), json={"data": data})
    assert _exactly(replaced.json()["data"]) == _exactly(data)
    patched = await alice.http.patch(path_of(resource), json={"data": {"added": 1}})
    assert _exactly(patched.json()["data"]) == _exactly(data | {"added": 1})


@pytest.mark.parametrize("kind", ["a", "Movie", "a-b_c.d", "x" * 63, "task2"])
async def test_a_resource_of_an_undefined_type_accepts_any_data(alice: Caller, kind: str) -> None:
    assert (await create(alice, {"any": "thing"}, kind))["type"] == kind


@pytest.mark.parametrize("kind", ["", "1st", "a b", "x" * 64, "é", "note\n", "a/b", "-a", 5, None, [], "note\t"])
async def test_invalid_type_names_are_refused(alice: Caller, kind: object) -> None:
    response = await alice.http.post("/api/v1/resources", json={"type": kind, "data": {}})
    assert faults_of(response) == ["/type"]


async def test_all_faults_of_a_new_resource_are_reported_together(alice: Caller) -> None:
    assert faults_of(await alice.http.post("/api/v1/resources", json={})) == ["/data", "/type"]
    faulty: list[object] = [[], "text", 5, None, True]
    for data in faulty:
        response = await alice.http.post(
            "/api/v1/resources", json={"type": "a b", "data": data, "owner_id": UNKNOWN_ID}
        )
        assert faults_of(response) == ["/data", "/owner_id", "/type"]


# --- conditional reads -----------------------------------------------------------------------------


@pytest.mark.parametrize("condition", ['"1"', 'W/"1"', '"0", "1"', ' "7" ,W/"1"', "*", '"x","1"'])
async def test_a_matching_if_none_match_is_answered_with_not_modified(alice: Caller, condition: str) -> None:
    path = path_of(await create(alice))
    for method in ("GET", "HEAD"):
        response = await alice.http.request(method, path, headers={"If-None-Match": condition})
        assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", '"1"')


@pytest.mark.parametrize("condition", ['"2"', 'W/"2"', '"0", "2"', '"1x"', '"01"'])
async def test_a_non_matching_if_none_match_is_answered_with_the_resource(alice: Caller, condition: str) -> None:
    response = await alice.http.get(path_of(await create(alice)), headers={"If-None-Match": condition})
    assert (response.status_code, response.json()["version"]) == (200, 1)


@pytest.mark.parametrize("condition", ["1", '"1', 'w/"1"', '"1" "2"', ","])
async def test_a_malformed_condition_is_invalid(alice: Caller, condition: str) -> None:
    path = path_of(await create(alice))
    response = await alice.http.get(path, headers={"If-None-Match": condition})
    assert faults_of(response) == ["If-None-Match"]
    for method, body in WRITES:
        response = await alice.http.request(method, path, json=body, headers={"If-Match": condition})
        assert faults_of(response) == ["If-Match"]


# --- writing ---------------------------------------------------------------------------------------


async def test_put_replaces_the_data_and_increments_the_version(alice: Caller) -> None:
    resource = await create(alice, {"title": "Alien", "year": 1979}, "movie")
    response = await alice.http.put(path_of(resource), json={"data": {"title": "Aliens"}, "type": "movie"})
    replaced = response.json()
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    assert (replaced["data"], replaced["version"]) == ({"title": "Aliens"}, 2)
    assert replaced["updated_at"] >= resource["updated_at"]
    assert {n: replaced[n] for n in ("id", "type", "owner_id", "created_at")} == {
        n: resource[n] for n in ("id", "type", "owner_id", "created_at")
    }
    assert (await alice.http.get(path_of(resource))).json() == replaced


async def test_the_type_cannot_be_changed(alice: Caller) -> None:
    resource = await create(alice, {"a": 1}, "movie")
    response = await alice.http.put(path_of(resource), json={"data": {}, "type": "film"})
    assert faults_of(response) == ["/type"]
    assert (await alice.http.patch(path_of(resource), json={"data": {}, "type": "film"})).status_code == 400
    assert (await alice.http.get(path_of(resource))).json() == resource


async def test_put_requires_the_data(alice: Caller) -> None:
    path = path_of(await create(alice))
    assert faults_of(await alice.http.put(path, json={})) == ["/data"]
    assert faults_of(await alice.http.put(path, json={"data": 5, "version": 1})) == ["/data", "/version"]


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({}, {"a": 1, "b": {"c": 2, "d": [1, 2]}}),
        ({"data": {}}, {"a": 1, "b": {"c": 2, "d": [1, 2]}}),
        ({"data": {"a": 5}}, {"a": 5, "b": {"c": 2, "d": [1, 2]}}),
        ({"data": {"a": None}}, {"b": {"c": 2, "d": [1, 2]}}),
        ({"data": {"b": {"c": None, "e": {"f": None, "g": 1}}}}, {"a": 1, "b": {"d": [1, 2], "e": {"g": 1}}}),
        ({"data": {"b": {"d": [None, {"x": None}]}}}, {"a": 1, "b": {"c": 2, "d": [None, {"x": None}]}}),
        ({"data": {"b": "text"}}, {"a": 1, "b": "text"}),
        ({"data": {"a": {"x": 1}}}, {"a": {"x": 1}, "b": {"c": 2, "d": [1, 2]}}),
        ({"data": {"missing": None}}, {"a": 1, "b": {"c": 2, "d": [1, 2]}}),
    ],
)
async def test_a_merge_patch_is_merged_into_the_data(
    alice: Caller, patch: dict[str, Any], expected: dict[str, Any]
) -> None:
    resource = await create(alice, {"a": 1, "b": {"c": 2, "d": [1, 2]}})
    response = await alice.http.patch(path_of(resource), json=patch)
    assert (response.status_code, response.json()["data"]) == (200, expected)
    assert response.headers["etag"] == f'"{response.json()["version"]}"'
    assert (await alice.http.get(path_of(resource))).json() == response.json()


@pytest.mark.parametrize("data", [None, [], 5, "text", False])
async def test_a_merge_patch_cannot_replace_the_data_with_a_non_object(alice: Caller, data: object) -> None:
    path = path_of(await create(alice))
    assert faults_of(await alice.http.patch(path, json={"data": data})) == ["/data"]


async def test_a_merge_patch_cannot_exceed_the_limits_of_a_body(alice: Caller) -> None:
    text = "x" * 700_000
    path = path_of(await create(alice, {"a": text}))
    response = await alice.http.patch(path, json={"data": {"b": text}})
    assert_problem(response, 413, "too-large")
    keys = {f"k{n}": n for n in range(6000)}
    path = path_of(await create(alice, keys))
    response = await alice.http.patch(path, json={"data": {f"m{n}": n for n in range(6000)}})
    assert_problem(response, 400, "invalid-request")


JSON_PATCH = {"Content-Type": "application/json-patch+json"}


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([], {"a": 1, "b": [1, 2], "c": {"d/e": None}}),
        ([{"op": "add", "path": "/data/x", "value": {"y": [None]}}], {"x": {"y": [None]}}),
        (
            [{"op": "add", "path": "/data/b/1", "value": 9}, {"op": "add", "path": "/data/b/-", "value": 3}],
            {"b": [1, 9, 2, 3]},
        ),
        ([{"op": "replace", "path": "/data/a", "value": None}], {"a": None}),
        (
            [{"op": "remove", "path": "/data/b/0"}, {"op": "replace", "path": "/data/c/d~1e", "value": 0}],
            {"b": [2], "c": {"d/e": 0}},
        ),
        (
            [{"op": "copy", "from": "/data/b", "path": "/data/x"}, {"op": "remove", "path": "/data/b/0"}],
            {"b": [2], "x": [1, 2]},
        ),
        (
            [{"op": "test", "path": "/data/a", "value": 1}, {"op": "move", "from": "/data/b", "path": "/data/a"}],
            {"a": [1, 2], "b": ...},
        ),
        ([{"op": "test", "path": "/data/a", "value": 1.0}], {}),
    ],
)
async def test_a_json_patch_is_applied_in_order(
    alice: Caller, operations: list[dict[str, Any]], expected: dict[str, Any]
) -> None:
    data = {"a": 1, "b": [1, 2], "c": {"d/e": None}}
    path = path_of(await create(alice, data))
    response = await alice.http.patch(path, content=json.dumps(operations), headers=JSON_PATCH)
    assert response.status_code == 200, response.text
    expected_data = {name: value for name, value in (data | expected).items() if value is not ...}
    assert response.json()["data"] == (await alice.http.get(path)).json()["data"] == expected_data


@pytest.mark.parametrize("value", [True, "1", None, [1], {"a": 1}, 2])
async def test_a_failed_test_operation_changes_nothing(alice: Caller, value: object) -> None:
    resource = await create(alice, {"a": 1, "list": [{"deep": 1}]})
    for place, tested in (("/data/a", value), ("/data/list", [{"deep": value}])):
        operations = [
            {"op": "add", "path": "/data/x", "value": 1},
            {"op": "test", "path": place, "value": tested},
        ]
        response = await alice.http.patch(path_of(resource), content=json.dumps(operations), headers=JSON_PATCH)
        assert_problem(response, 409, "conflict")
    assert (await alice.http.get(path_of(resource))).json() == resource


@pytest.mark.parametrize(
    "operation",
    [
        *({"op": "remove", "path": path} for path in ("/data/x", "/data/b/2", "/data/b/-", "/data/b/01", "/data/a/0")),
        *(
            {"op": "remove", "path": path}
            for path in ("/data/b/-1", "/data/~2", "data/a", "/id", "/data/b/x", "/version")
        ),
        *({"op": "remove", "path": path} for path in ("", "/data")),
        *({"op": "remove", "path": 5}, {"op": "remove", "path": None}, {"op": "remove", "path": []}),
        *({"op": "replace", "path": "/data/x/y", "value": 1}, {"op": "add", "path": "/data/b/3", "value": 1}),
        *({"op": "replace", "path": "/data", "value": 5}, {"op": "replace", "path": "", "value": []}),
        *({"op": "add", "path": "/data/x"}, {"op": "move", "path": "/data/x"}, {"op": "test", "path": "/data/a"}),
        *(
            {"op": "copy", "from": "/data/nothing", "path": "/data/x"},
            {"op": "move", "from": "/data", "path": "/data/x"},
        ),
        *({"op": "merge", "path": "/data/x"}, {"path": "/data/x", "value": 1}, {"op": [], "path": "/data/x"}, {}),
        *({"op": "add", "path": "/type", "value": "film"}, {"op": "add", "path": "/owner_id", "value": UNKNOWN_ID}),
        *(5, "remove", None, []),
        *({"op": "add", "path": "/data/s/0", "value": 1}, {"op": "remove", "path": "/data/s/0"}),
        {"op": "copy", "from": 5, "path": "/data/x"},
    ],
    ids=str,
)
async def test_an_invalid_operation_is_refused_and_changes_nothing(alice: Caller, operation: object) -> None:
    resource = await create(alice, {"a": 1, "b": [1, 2], "s": "text"})
    content = json.dumps([{"op": "add", "path": "/data/first", "value": 1}, operation])
    response = await alice.http.patch(path_of(resource), content=content, headers=JSON_PATCH)
    assert_problem(response, 400, "invalid-request")
    assert (await alice.http.get(path_of(resource))).json() == resource


async def test_a_json_patch_cannot_exceed_the_limits_of_a_body(alice: Caller) -> None:
    path = path_of(await create(alice, {"a": {"text": "x" * 1000}}))
    doubling = [{"op": "copy", "from": "/data", "path": f"/data/c{n}"} for n in range(40)]
    response = await alice.http.patch(path, content=json.dumps(doubling), headers=JSON_PATCH)
    assert response.status_code in (400, 413)
    deep: dict[str, Any] = {}
    for _ in range(20):
        deep = {"a": deep}
    nesting = [{"op": "add", "path": "/data" + "/a" * level, "value": deep} for level in (1, 20)]
    response = await alice.http.patch(path, content=json.dumps(nesting), headers=JSON_PATCH)
    assert_problem(response, 400, "invalid-request")


async def test_no_concurrent_json_patch_without_if_match_is_lost(alice: Caller) -> None:
    path = path_of(await create(alice, {"list": []}))
    patches = [
        alice.http.patch(
            path, content=json.dumps([{"op": "add", "path": "/data/list/-", "value": n}]), headers=JSON_PATCH
        )
        for n in range(15)
    ]
    assert {response.status_code for response in await asyncio.gather(*patches)} == {200}
    assert sorted((await alice.http.get(path)).json()["data"]["list"]) == list(range(15))


async def test_a_json_patch_must_be_a_list_and_a_merge_patch_an_object(alice: Caller) -> None:
    path = path_of(await create(alice))
    for body, kind in (
        (b"{}", "json-patch+json"),
        (b"[]", "merge-patch+json"),
        (b"[]", "json"),
        (b"5", "json-patch+json"),
    ):
        headers = {"Content-Type": f"application/{kind}"}
        assert faults_of(await alice.http.patch(path, content=body, headers=headers)) == [""]


async def test_a_deleted_resource_is_not_found(alice: Caller) -> None:
    path = path_of(await create(alice))
    response = await alice.http.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    for method, body in (("GET", None), *WRITES):
        assert_problem(await alice.http.request(method, path, json=body), 404, "not-found")


# --- preconditions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", ['"1"', '"7", "1"', "*", ' "1" ,, "x"', 'W/"2","1"'])
async def test_a_write_with_the_current_version_succeeds(alice: Caller, condition: str) -> None:
    for method, body in WRITES:
        path = path_of(await create(alice))
        response = await alice.http.request(method, path, json=body, headers={"If-Match": condition})
        assert response.status_code == (204 if method == "DELETE" else 200)


@pytest.mark.parametrize(
    "condition", ['"2"', '"0"', 'W/"1"', '"x"', '""', '"7", "8"', '"999999999999999999"', '"2147483648"', '"01"']
)
async def test_a_write_with_another_version_is_refused_with_the_current_resource(alice: Caller, condition: str) -> None:
    resource = await create(alice, {"a": 1})
    for method, body in WRITES:
        response = await alice.http.request(method, path_of(resource), json=body, headers={"If-Match": condition})
        assert assert_problem(response, 412, "version-mismatch")["current"] == resource
    assert (await alice.http.get(path_of(resource))).json() == resource


async def test_if_match_accepts_thousands_of_versions(alice: Caller) -> None:
    path = path_of(await create(alice))
    many = ",".join(f'"{n}"' for n in range(2000))
    response = await alice.http.put(path, json={"data": {}}, headers={"If-Match": many})
    assert response.status_code == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_exactly_one_of_many_concurrent_writes_to_one_version_succeeds(alice: Caller, method: str) -> None:
    path = path_of(await create(alice))
    writes = [
        alice.http.request(
            method,
            path,
            json=None if method == "DELETE" else {"data": {"writer": n}},
            headers={"If-Match": '"1"'},
        )
        for n in range(20)
    ]
    responses = await asyncio.gather(*writes)
    statuses = sorted(response.status_code for response in responses)
    assert statuses == ([204] + 19 * [404] if method == "DELETE" else [200] + 19 * [412])
    if method != "DELETE":
        (winner,) = [response.json() for response in responses if response.status_code == 200]
        assert (await alice.http.get(path)).json() == winner


async def test_no_concurrent_merge_patch_without_if_match_is_lost(alice: Caller) -> None:
    path = path_of(await create(alice))
    patches = [alice.http.patch(path, json={"data": {f"n{n}": n, "last": n}}) for n in range(25)]
    responses = await asyncio.gather(*patches)
    assert {response.status_code for response in responses} == {200}
    resource = (await alice.http.get(path)).json()
    assert {n: v for n, v in resource["data"].items() if n != "last"} == {f"n{n}": n for n in range(25)}
    assert resource["version"] == 26
    assert sorted(response.json()["version"] for response in responses) == list(range(2, 27))


async def test_a_read_returns_the_result_of_the_previous_write(alice: Caller) -> None:
    path = path_of(await create(alice))
    for n in range(20):
        await alice.http.put(path, json={"data": {"n": n}})
        assert (await alice.http.get(path)).json()["data"] == {"n": n}


# --- ownership -------------------------------------------------------------------------------------


async def test_a_resource_of_another_user_is_forbidden_and_a_missing_one_is_not_found(
    alice: Caller, bob: Caller
) -> None:
    resource = await create(alice, {"secret": "plans"})
    for method, body in (("GET", None), *WRITES):
        for headers in ({}, {"If-Match": '"9"'}, {"If-None-Match": '"1"'}):
            response = await bob.http.request(method, path_of(resource), json=body, headers=headers)
            assert_problem(response, 403, "forbidden")
            assert "plans" not in response.text
        response = await bob.http.request(method, f"/api/v1/resources/{UNKNOWN_ID}", json=body)
        assert_problem(response, 404, "not-found")
    assert (await alice.http.get(path_of(resource))).json() == resource


async def test_an_administrator_can_change_any_resource_and_the_owner_stays_the_same(
    alice: Caller, admin: Caller
) -> None:
    resource = await create(alice)
    assert (await admin.http.get(path_of(resource))).json() == resource
    for method in ("PUT", "PATCH"):
        response = await admin.http.request(method, path_of(resource), json={"data": {"by": method}})
        assert (response.status_code, response.json()["owner_id"]) == (200, alice.id)
    assert (await admin.http.delete(path_of(resource))).status_code == 204


async def test_resources_created_during_the_deletion_of_their_owner_are_deleted(
    make_user: MakeUser, admin: Caller
) -> None:
    caller = await make_user()
    creations = [caller.http.post("/api/v1/resources", json={"type": "note", "data": {}}) for _ in range(5)]
    deletion = admin.http.delete(f"/api/v1/users/{caller.id}")
    deleted, *created = await asyncio.gather(deletion, *creations)
    assert deleted.status_code == 204
    assert {response.status_code for response in created} <= {201, 401}
    for response in created:
        if response.status_code == 201:
            assert_problem(await admin.http.get(response.headers["location"]), 404, "not-found")


def _exactly(value: object) -> str:
    """A value as text, in which 1, 1.0 and true differ and the order of keys is ignored."""
    return json.dumps(value, sort_keys=True)
