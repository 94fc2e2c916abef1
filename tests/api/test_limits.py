"""Section 5 of the contract: the limits of requests. A request beyond a limit gets the right 4xx, never 500."""

import json
from typing import Any

import httpx
import pytest

from kingpost.http.app import router
from kingpost.http.app.router import Route, Who
from kingpost.main import ROUTES
from tests.api.stack import PASSWORD, Caller, Serve, Stack, assert_problem, faults_of

MEBIBYTE = 1024 * 1024
HEADERS = {"Content-Type": "application/json"}


async def post(caller: Caller, data: str | bytes) -> httpx.Response:
    """Create a resource whose data is this JSON text."""
    text = data.encode() if isinstance(data, str) else data
    body = b'{"type": "note", "data": ' + text + b"}"
    return await caller.http.post("/api/v1/resources", content=body, headers=HEADERS)


def sized(size: int) -> bytes:
    """A body of exactly this many bytes."""
    frame = '{"type":"note","data":{"text":""}}'
    return frame.replace('""}', '"' + "x" * (size - len(frame)) + '"}').encode()


def nested(depth: int) -> str:
    """An object with this many levels."""
    return '{"a":' * (depth - 1) + "{}" + "}" * (depth - 1)


# --- size ------------------------------------------------------------------------------------------


async def test_a_body_of_one_mebibyte_is_accepted_and_more_is_too_large(alice: Caller) -> None:
    accepted = await alice.http.post("/api/v1/resources", content=sized(MEBIBYTE), headers=HEADERS)
    assert accepted.status_code == 201
    assert (await alice.http.get(accepted.headers["location"])).json() == accepted.json()
    refused = await alice.http.post("/api/v1/resources", content=sized(MEBIBYTE + 1), headers=HEADERS)
    assert_problem(refused, 413, "too-large")


async def test_a_chunked_body_without_content_length_is_limited_as_well(alice: Caller) -> None:
    for size, status in ((MEBIBYTE, 201), (MEBIBYTE + 1, 413), (3 * MEBIBYTE, 413)):
        request = alice.http.build_request("POST", "/api/v1/resources", content=_chunks(sized(size)), headers=HEADERS)
        assert request.headers["transfer-encoding"] == "chunked"
        assert (await alice.http.send(request)).status_code == status


ANONYMOUS = [route for route in ROUTES if route.body is not None and route.who not in router.NEED_CALLER]


@pytest.mark.parametrize("route", ANONYMOUS, ids=lambda route: route.path)
async def test_a_body_that_anyone_may_send_has_at_most_sixteen_kibibytes(
    client: httpx.AsyncClient, alice: Caller, route: Route[Any]
) -> None:
    for http in (client, alice.http) if route.who is Who.ANYONE_OR_CALLER else (client,):
        refused = await http.request(route.method, route.path, content=b" " * (16 * 1024 + 1), headers=HEADERS)
        assert_problem(refused, 413, "too-large")
        assert "16384" in refused.json()["detail"]
        accepted = await http.request(route.method, route.path, content=b" " * (16 * 1024), headers=HEADERS)
        assert_problem(accepted, 400, "invalid-request")


async def test_a_smaller_configured_limit_holds_for_anyone(serve: Serve) -> None:
    client = (await serve(BODY_LIMIT="2048")).client()
    for size, status in ((2048, 400), (2049, 413)):
        response = await client.post("/api/v1/auth/login", content=b" " * size, headers=HEADERS)
        assert response.status_code == status


async def test_the_limits_are_configurable(serve: Serve) -> None:
    stack = await serve(BODY_LIMIT="2048", JSON_DEPTH="3", JSON_KEYS="5", HEADER_LIMIT="2000")
    caller = await stack.sign_up()
    assert (await caller.http.post("/api/v1/resources", content=sized(2048), headers=HEADERS)).status_code == 201
    assert_problem(await caller.http.post("/api/v1/resources", content=sized(2049), headers=HEADERS), 413, "too-large")
    assert (await post(caller, nested(2))).status_code == 201
    assert_problem(await post(caller, nested(3)), 400, "invalid-request")
    assert (await post(caller, '{"a":1,"b":2,"c":3}')).status_code == 201
    assert_problem(await post(caller, '{"a":1,"b":2,"c":3,"d":4}'), 400, "invalid-request")
    response = await caller.http.get("/api/v1/users/me", headers={"X-Padding": "x" * 1500})
    assert_problem(response, 431, "headers-too-large")


@pytest.mark.parametrize("where", ["header", "headers", "query", "path"])
async def test_request_headers_over_sixteen_kibibytes_are_too_large(alice: Caller, where: str) -> None:
    for size, is_accepted in ((8 * 1024, True), (16 * 1024 + 1, False)):
        path, headers = "/nothing", {}
        match where:
            case "header":
                headers = {"X-Padding": "x" * size}
            case "headers":
                headers = {f"X-{n:03}": "x" * (size // 100) for n in range(100)}
            case "query":
                path = f"/nothing?x={'x' * size}"
            case _:
                path = f"/{'x' * size}"
        response = await alice.http.get(path, headers=headers)
        assert_problem(response, *((404, "not-found") if is_accepted else (431, "headers-too-large")))


# --- structure -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("open_", "close"), [('{"a":', "}"), ("[", "]"), ('[{"a":', "}]")])
async def test_json_can_have_at_most_thirty_two_levels(alice: Caller, open_: str, close: str) -> None:
    levels = open_.count("[") + open_.count("{")
    # The body and its data are the first two levels.
    deepest = (30 // levels) * levels
    accepted = '{"x":' + open_ * (deepest // levels) + "1" + close * (deepest // levels) + "}"
    assert (await post(alice, accepted)).status_code == 201
    assert_problem(await post(alice, f'{{"x":{open_ * 31}1{close * 31}}}'), 400, "invalid-request")
    assert_problem(await post(alice, f'{{"x":{open_ * 100_000}'), 400, "invalid-request")
    assert_problem(await post(alice, f'{{"x":{open_ * 100_000}1{close * 100_000}}}'), 400, "invalid-request")


async def test_brackets_in_strings_do_not_count_as_levels(alice: Caller) -> None:
    assert (await post(alice, json.dumps({"text": '[{"[' * 1000}))).status_code == 201


async def test_all_objects_of_a_body_together_can_have_at_most_ten_thousand_keys(alice: Caller) -> None:
    # The keys `type`, `data` and `list` are counted as well.
    for count, status in ((9_997, 201), (9_998, 400)):
        for data in (
            {"list": [{"k": n} for n in range(count)]},
            {"list": {str(n): n for n in range(count)}},
        ):
            response = await post(alice, json.dumps(data))
            assert response.status_code == status
            if status == 400:
                assert_problem(response, 400, "invalid-request")


@pytest.mark.parametrize("number", [2**53, -(2**53), 0, -0.0, 1e308, 5e-324, 0.1])
async def test_numbers_within_the_limits_are_kept(alice: Caller, number: float) -> None:
    created = await post(alice, json.dumps({"n": number}))
    assert created.status_code == 201
    read = (await alice.http.get(created.headers["location"])).json()["data"]["n"]
    assert (read, type(read)) == (number, type(number))


@pytest.mark.parametrize(
    "number",
    [
        *("9007199254740993", "-9007199254740993", "18446744073709551616", "1" * 400, "1" * 5000, "-" + "9" * 400),
        *("1e309", "-1e309", "1e99999", "NaN", "Infinity", "-Infinity"),
    ],
)
async def test_numbers_outside_the_interoperable_range_are_refused(alice: Caller, number: str) -> None:
    for data, pointer in ((f'{{"n": {number}}}', "/data/n"), (f'{{"a/b": [0, {number}]}}', "/data/a~1b/1")):
        assert faults_of(await post(alice, data)) == [pointer]


@pytest.mark.parametrize("number", ["+1", "01", ".5", "1.", "0x10", "1_000", "1e", "--1", "nan", "inf", "undefined"])
async def test_invalid_number_syntax_is_malformed_json(alice: Caller, number: str) -> None:
    assert faults_of(await post(alice, f'{{"n": {number}}}')) == [""]


@pytest.mark.parametrize("level", ["root", "data", "deep", "escaped"])
async def test_duplicate_keys_are_refused_and_named(alice: Caller, level: str) -> None:
    bodies = {
        "root": (b'{"type": "note", "data": {}, "type": "task"}', "/type"),
        "data": (b'{"type": "note", "data": {"a": 1, "a": 1}}', "/data/a"),
        "deep": (b'{"type": "note", "data": {"l": [{}, {"a": {}, "b": 1, "a": {}}]}}', "/data/l/1/a"),
        "escaped": (b'{"type": "note", "data": {"a": 1, "\\u0061": 2}}', "/data/a"),
    }
    body, pointer = bodies[level]
    response = await alice.http.post("/api/v1/resources", content=body, headers=HEADERS)
    assert faults_of(response) == [pointer]


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        (r'{"t": "a\u0000b"}', "/data/t"),
        (r'{"a\u0000b": 1}', "/data/a\ufffdb"),
        (r'{"t": "\ud800"}', "/data/t"),
        (r'{"t": "\udc00\ud800"}', "/data/t"),
        (r'{"t": ["ok", "\ud83d\ude00", "\ud83d"]}', "/data/t/2"),
    ],
)
async def test_strings_that_databases_cannot_store_are_refused(alice: Caller, data: str, pointer: str) -> None:
    assert faults_of(await post(alice, data)) == [pointer]


@pytest.mark.parametrize("data", [b'{"t": "\xff"}', b'{"t": "\xc0\xaf"}', b'{"t": "\xed\xa0\x80"}', b'{"t": "\xf5"}'])
async def test_a_body_that_is_not_utf_8_is_refused(alice: Caller, data: bytes) -> None:
    assert faults_of(await post(alice, data)) == [""]


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
async def test_other_encodings_are_refused(alice: Caller, codec: str) -> None:
    body = '{"type": "note", "data": {}}'.encode(codec)
    response = await alice.http.post("/api/v1/resources", content=body, headers=HEADERS)
    assert_problem(response, 400, "invalid-request")


async def test_all_faults_of_a_body_are_reported_together(alice: Caller) -> None:
    data = r'{"a": 1e999, "b": "\u0000", "c": [NaN, 9007199254740993], "d": 1, "d": 2}'
    assert faults_of(await post(alice, data)) == ["/data/a", "/data/b", "/data/c/0", "/data/c/1", "/data/d"]


async def test_a_body_with_very_many_faults_gets_a_small_response(alice: Caller) -> None:
    response = await post(alice, '{"l": [' + ",".join(["NaN"] * 200_000) + "]}")
    assert len(faults_of(response)) <= 100
    assert len(response.content) < 100_000
    many = ",".join(f'"{"k" * 50}{n}": 1' for n in range(9_000))
    response = await alice.http.put(f"/api/v1/users/{alice.id}", content=f"{{{many}}}".encode(), headers=HEADERS)
    assert_problem(response, 400, "invalid-request")
    assert len(response.content) < 100_000


async def test_the_limits_apply_to_accounts_as_well(stack: Stack) -> None:
    caller = await stack.sign_up()
    faulty: list[Any] = [r'{"a": "\u0000"}', '{"a": NaN}', '{"a": 9007199254740993}', nested(32), '{"a": 1, "a": 2}']
    for metadata in faulty:
        body = f'{{"metadata": {metadata}}}'.encode()
        response = await caller.http.patch(f"/api/v1/users/{caller.id}", content=body, headers=HEADERS)
        assert_problem(response, 400, "invalid-request")
    for email in (f"{'x' * 10_000}@example.com", "a\\u0000@example.com", "@" * 1000, "a@" + "b." * 200 + "c"):
        body = f'{{"email": "{email}", "password": "{PASSWORD}"}}'.encode()
        response = await stack.client().post("/api/v1/users", content=body, headers=HEADERS)
        assert faults_of(response) == ["/email"]


async def test_a_json_patch_of_an_account_has_the_limits_of_an_account(alice: Caller) -> None:
    headers = {"Content-Type": "application/json-patch+json"}
    for size, status in ((4000, 200), (5000, 400), (20_000, 413), (500_000, 413)):
        operations = [{"op": "add", "path": "/metadata/text", "value": "x" * size}]
        response = await alice.http.patch(
            f"/api/v1/users/{alice.id}", content=json.dumps(operations).encode(), headers=headers
        )
        assert response.status_code == status, response.text


@pytest.mark.parametrize("part", ["1e308", "[]", '{"op": "test", "path": ""}'])
async def test_patches_of_large_documents_are_applied(alice: Caller, part: str) -> None:
    """They are decoded, patched and checked in a thread."""
    items = ",".join([part] * 4_000)
    created = await post(alice, f'{{"items": [{items}], "removed": 1}}')
    path = created.headers["location"]

    merged = await alice.http.patch(path, json={"data": {"removed": None, "merged": 2}})
    operations = [{"op": "test", "path": "/data/merged", "value": 2}, {"op": "add", "path": "/data/added", "value": 3}]
    headers = {"Content-Type": "application/json-patch+json"}
    patched = await alice.http.patch(path, content=json.dumps(operations).encode(), headers=headers)
    operations = [{"op": "test", "path": "", "value": 1}] * 4_000
    refused = await alice.http.patch(path, content=json.dumps(operations).encode(), headers=headers)

    assert (merged.status_code, patched.status_code) == (200, 200)
    assert patched.json()["data"] == {"items": json.loads(f"[{items}]"), "merged": 2, "added": 3}
    assert faults_of(refused) == [""]


async def _chunks(content: bytes) -> Any:
    for start in range(0, len(content), 100_000):
        yield content[start : start + 100_000]


# --- many faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faulty", "count"), [('"\\u0000"', 100), ('"\\u0000"', 101), ("NaN", 500), ('{"a":1,"a":2}', 3), ("9" * 30, 5000)]
)
async def test_a_problem_lists_a_hundred_faults_and_says_that_there_are_more(
    alice: Caller, faulty: str, count: int
) -> None:
    response = await post(alice, '{"list": [' + ",".join([faulty] * count) + "]}")
    problem = assert_problem(response, 400, "invalid-request")
    assert len(problem["errors"]) == min(count, 100)
    assert problem.get("more", False) is (count > 100)


@pytest.mark.parametrize("count", [1, 100, 101, 5000])
async def test_the_faults_of_a_schema_are_counted_alike(alice: Caller, count: int) -> None:
    body = {f"unknown_{n}": n for n in range(count)} | {"type": "note", "data": {}}
    problem = assert_problem(await alice.http.post("/api/v1/resources", json=body), 400, "invalid-request")
    assert len(problem["errors"]) == min(count, 100)
    assert problem.get("more", False) is (count > 100)


# --- no body ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "pointers"),
    [
        ("POST", "/api/v1/resources", ["/data", "/type"]),
        ("POST", "/api/v1/users", ["/email", "/password"]),
        ("POST", "/api/v1/auth/totp", ["/password"]),
        ("DELETE", "/api/v1/auth/totp", ["/otp", "/password"]),
        ("POST", "/api/v1/api-keys", ["/name", "/password", "/scopes"]),
        ("PATCH", "/api/v1/users/me", [""]),
    ],
)
async def test_a_missing_body_is_told_as_its_missing_fields(
    alice: Caller, method: str, path: str, pointers: list[str]
) -> None:
    response = await alice.http.request(method, path)
    assert sorted(faults_of(response)) == pointers
