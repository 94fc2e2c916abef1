"""Documents come back as they were sent: the same numbers, and members in the same order. Pages have a maximum size."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.stack import Caller, MakeUser, faults_of

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
numbers = (
    st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        [-0.0, 0.0, 1.0, -1.0, 1e15, 1e16, 1e22, 1e300, -1.7976931348623157e308, 5e-324, 2.0**53, 1e-7, 0.1]
    )
)
leaves = st.none() | st.booleans() | numbers | texts
documents = st.dictionaries(
    texts, st.recursive(leaves, lambda v: st.lists(v, max_size=4) | st.dictionaries(texts, v, max_size=4)), max_size=6
)
MEBIBYTE = 1024 * 1024

spelled = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", fullmatch=True),
    st.sampled_from(["-0", "0e0", "-0E-5", "1e5", "1E+5", "1.10", "1e15", "1e-400", "0.0000001", "9007199254740993.0"]),
)
"""Numbers as JSON may spell them."""


def exact(value: Any) -> str:
    """Return a text that differs for values that are equal in Python only: 1 and 1.0, 0.0 and -0.0, other orders."""
    return json.dumps(value)


async def written(caller: Caller, path: str, method: str, body: Any) -> Any:
    response = await caller.http.request(
        method, path, content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert response.is_success, response.text
    return response.json()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=documents, second=documents)
async def test_a_document_comes_back_as_it_was_sent(alice: Caller, first: Any, second: Any) -> None:
    created = await written(alice, "/api/v1/resources", "POST", {"type": "exact", "data": first})
    path = f"/api/v1/resources/{created['id']}"
    assert exact(created["data"]) == exact(first)
    assert exact((await alice.http.get(path)).json()["data"]) == exact(first)
    replaced = await written(alice, path, "PUT", {"data": second})
    assert exact(replaced["data"]) == exact(second)
    listed = (await alice.http.get("/api/v1/resources?type=exact&limit=1")).json()["items"][0]
    assert exact(listed["data"]) == exact(second)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents)
async def test_members_that_a_patch_does_not_name_stay_as_they_were_sent(alice: Caller, document: Any) -> None:
    data = {"zebra": document, "apple": 1, "mango": document}
    created = await written(alice, "/api/v1/resources", "POST", {"type": "exact", "data": data})
    path = f"/api/v1/resources/{created['id']}"
    await written(alice, path, "PATCH", {"data": {"apple": 2}})
    operations = [{"op": "add", "path": "/data/new", "value": -0.0}]
    headers = {"Content-Type": "application/json-patch+json"}
    await alice.http.patch(path, content=json.dumps(operations), headers=headers)
    read = (await alice.http.get(path)).json()["data"]
    assert exact(read) == exact({"zebra": document, "apple": 2, "mango": document, "new": -0.0})


@pytest.mark.parametrize("metadata", [{"b": 1e308, "a": -0.0, "c": 1.0}, {"z": {"y": 1, "x": 2.5e-10}, "a": [1e22]}])
async def test_metadata_comes_back_as_it_was_sent(make_user: MakeUser, metadata: Any) -> None:
    caller = await make_user(metadata=metadata)
    assert exact((await caller.http.get("/api/v1/users/me")).json()["metadata"]) == exact(metadata)
    await written(caller, "/api/v1/users/me", "PATCH", {"metadata": {"new": 1e300}})
    read = (await caller.http.get("/api/v1/users/me")).json()["metadata"]
    assert exact(read) == exact(metadata | {"new": 1e300})


async def test_a_response_is_hardly_longer_than_what_was_stored(alice: Caller) -> None:
    data = {"numbers": [1e308, -1.5e300] * 10_000}
    body = json.dumps({"type": "long", "data": data}).encode()
    created = await written(alice, "/api/v1/resources", "POST", {"type": "long", "data": data})
    read = await alice.http.get(f"/api/v1/resources/{created['id']}")
    assert len(read.content) < len(body) + 300
    listed = await alice.http.get("/api/v1/resources?type=long")
    assert len(listed.content) < len(body) + 400


@pytest.mark.parametrize("sort", ["-created_at", "created_at", "version", "-updated_at", "type"])
async def test_a_page_ends_before_it_would_exceed_8_mib(make_user: MakeUser, sort: str) -> None:
    caller = await make_user()
    sizes = [900_000, 10, 1_000_000, 700_000, 20, *[900_000] * 9, 30]
    ids = []
    for size in sizes:
        created = await written(caller, "/api/v1/resources", "POST", {"type": "large", "data": {"text": "x" * size}})
        ids.append(created["id"])
    path = f"/api/v1/resources?limit=100&sort={sort}"
    pages = [(await caller.http.get(path)).json()]
    while cursor := pages[-1]["next_cursor"]:
        pages.append((await caller.http.get(f"{path}&cursor={cursor}")).json())
    lengths = [sum(len(item["data"]["text"]) for item in page["items"]) for page in pages]
    assert len(pages) == 2
    assert max(lengths) <= 8 * MEBIBYTE
    assert lengths[0] > 7 * MEBIBYTE
    found = [item["id"] for page in pages for item in page["items"]]
    assert sorted(found) == sorted(ids)
    assert found == (sorted(ids, reverse=True) if sort.startswith("-") else sorted(ids))


async def test_a_small_page_with_one_large_document_is_whole(make_user: MakeUser) -> None:
    caller = await make_user()
    for size in (1_000_000, 10, 1_000_000):
        await written(caller, "/api/v1/resources", "POST", {"type": "large", "data": {"text": "x" * size}})
    page = (await caller.http.get("/api/v1/resources?limit=100&count=exact")).json()
    assert (len(page["items"]), page["next_cursor"], page["total"]) == (3, None, 3)
    first = (await caller.http.get("/api/v1/resources?limit=1")).json()
    assert len(first["items"]) == 1
    assert first["next_cursor"]


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(spelled, max_size=5), text=st.sampled_from(["", "1.0", "1e5\\u0041", "\\n-0", "é", "\\u00e9"]))
async def test_numbers_keep_their_spelling(alice: Caller, numbers: list[str], text: str) -> None:
    sent = f'{{"n":[{",".join(numbers)}],"t":"{text}"}}'
    expected = "[" + ",".join(numbers) + "]"
    headers = {"Content-Type": "application/json"}
    body = f'{{"type":"spelled","data":{sent}}}'
    created = await alice.http.post("/api/v1/resources", content=body, headers=headers)
    assert created.status_code == 201, created.text
    path = created.headers["location"]
    assert f'"n":{expected},' in created.text
    assert f'"n":{expected},' in (await alice.http.get(path)).text
    patched = await alice.http.patch(path, content=f'{{"data": {{"m": {expected}}}}}', headers=headers)
    assert f'"n":{expected},' in patched.text
    assert f'"m":{expected}}}' in patched.text
    replaced = await alice.http.put(path, content=f'{{"data": {sent}}}', headers=headers)
    assert f'"n":{expected},' in replaced.text
    tested = f'[{{"op": "test", "path": "/data/n", "value": {expected}}}]'
    headers = {"Content-Type": "application/json-patch+json"}
    assert (await alice.http.patch(path, content=tested, headers=headers)).status_code == 200


@pytest.mark.parametrize("number", ["1e15", "1e5", "1E9", "-0", "1.0000"])
async def test_what_is_accepted_can_be_patched_and_put_back(alice: Caller, number: str) -> None:
    count = (MEBIBYTE - 100) // (len(number) + 1)
    headers = {"Content-Type": "application/json"}
    body = f'{{"type":"full","data":{{"a":[{",".join([number] * count)}]}}}}'
    created = await alice.http.post("/api/v1/resources", content=body, headers=headers)
    assert created.status_code == 201
    assert len(created.content) < len(body) + 300
    path = created.headers["location"]
    assert (await alice.http.patch(path, json={"data": {"b": 1}})).status_code == 200
    data = (await alice.http.get(path)).text.partition('"data":')[2].partition(',"version"')[0]
    assert (await alice.http.put(path, content=f'{{"data":{data}}}', headers=headers)).status_code == 200


async def test_an_equal_number_in_another_spelling_passes_a_test(alice: Caller) -> None:
    created = await written(alice, "/api/v1/resources", "POST", {"type": "spelled", "data": {"n": 100000.0}})
    path = f"/api/v1/resources/{created['id']}"
    headers = {"Content-Type": "application/json-patch+json"}
    for number, status in (("1e5", 200), ("100000", 200), ("1.0E+5", 200), ("1e6", 409), ("true", 409)):
        operations = f'[{{"op": "test", "path": "/data/n", "value": {number}}}]'
        assert (await alice.http.patch(path, content=operations, headers=headers)).status_code == status


async def test_numbers_of_metadata_keep_their_spelling(make_user: MakeUser) -> None:
    caller = await make_user()
    headers = {"Content-Type": "application/json"}
    body = '{"metadata": {"a": [1e5, -0, 1.10], "b": {"c": 1E400}}}'
    assert (await caller.http.patch("/api/v1/users/me", content=body, headers=headers)).status_code == 400
    changed = await caller.http.patch("/api/v1/users/me", content=body.replace("1E400", "1e0"), headers=headers)
    for text in (changed.text, (await caller.http.get("/api/v1/users/me")).text):
        assert '"metadata":{"a":[1e5,-0,1.10],"b":{"c":1e0}}' in text


async def test_a_page_number_is_refused_if_its_page_would_be_too_large(make_user: MakeUser) -> None:
    caller = await make_user()
    for size in [1_000_000] * 9:
        await written(caller, "/api/v1/resources", "POST", {"type": "large", "data": {"text": "x" * size}})
    path = "/api/v1/resources?limit=100"
    assert faults_of(await caller.http.get(f"{path}&page=1")) == ["page"]
    pages = [(await caller.http.get(f"/api/v1/resources?limit=4&page={n}")).json() for n in (1, 2, 3)]
    assert [len(page["items"]) for page in pages] == [4, 4, 1]
