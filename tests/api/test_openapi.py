"""The OpenAPI document: valid, consistent with the routes, and changed only on purpose."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import openapi_spec_validator
import pytest

from kingpost.http.openapi import document as openapi
from kingpost.main import ROUTES
from tests.api.stack import Caller, Stack

GOLDEN = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
# The golden file may have been generated for another version and address.
DOCUMENT = json.loads(
    json.dumps(openapi.document(ROUTES, GOLDEN["servers"][0]["url"], version=GOLDEN["info"]["version"]))
)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def contents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every media type object of the document, with its location."""
    for method, path, operation in operations():
        for content in operation.get("requestBody", {}).get("content", {}).values():
            yield f"{method} {path}", content
        for status, response in operation["responses"].items():
            for content in response.get("content", {}).values():
                yield f"{method} {path} {status}", content
    for name, response in DOCUMENT["components"]["responses"].items():
        for content in response.get("content", {}).values():
            yield name, content


def test_the_document_matches_the_reviewed_file() -> None:
    remade = "If the API is meant to change: `python3 dev.py kingpost openapi > docs/openapi.json`, and review that."
    assert GOLDEN == DOCUMENT, remade


def test_the_document_is_valid_openapi() -> None:
    openapi_spec_validator.validate(DOCUMENT)


def test_every_route_is_documented_once() -> None:
    documented = {(method.upper(), path) for method, path, _ in operations()}
    assert documented == {(route.method, openapi.public_path(route)) for route in ROUTES if not route.is_hidden}
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("place", "content"), list(contents()))
def test_every_example_matches_its_schema(place: str, content: dict[str, Any]) -> None:
    examples = [content["example"]] if "example" in content else [e["value"] for e in content["examples"].values()]
    schema = content["schema"] | {"components": DOCUMENT["components"]}
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    for example in examples:
        assert [error.message for error in validator.iter_errors(example)] == [], place


def resolved(parameter: dict[str, Any]) -> dict[str, Any]:
    name = parameter.get("$ref", "").removeprefix("#/components/parameters/")
    found: dict[str, Any] = DOCUMENT["components"]["parameters"][name] if name else parameter
    return found


def test_every_path_parameter_is_declared() -> None:
    for _, path, operation in operations():
        declared = {
            parameter["name"] for parameter in map(resolved, operation["parameters"]) if parameter["in"] == "path"
        }
        assert declared == set(re.findall(r"{(\w+)}", path))


async def test_the_server_serves_the_document_with_its_own_address(stack: Stack, alice: Caller) -> None:
    served = (await alice.http.get("/openapi.json")).json()
    assert served["servers"] == [{"url": stack.kingpost.settings.public_url}]
    assert served | {"servers": DOCUMENT["servers"], "info": DOCUMENT["info"]} == DOCUMENT
