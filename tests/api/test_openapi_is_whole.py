"""The OpenAPI document is whole: it says all that the routes say, and refers to nothing that is not there."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from kingpost.http.app.router import Route
from kingpost.http.openapi.document import document, public_path
from kingpost.http.openapi.schemas import example
from kingpost.main import ROUTES

DOCUMENT = document(ROUTES, "http://127.0.0.1:8000")
COMPONENTS = DOCUMENT["components"]
SHOWN = [route for route in ROUTES if not route.is_hidden]


def test_what_it_refers_to_is_there_and_all_that_is_there_is_referred_to() -> None:
    present = {f"#/components/{kind}/{name}" for kind, parts in COMPONENTS.items() for name in parts}
    present -= {name for name in present if name.startswith("#/components/securitySchemes/")}
    assert set(references(DOCUMENT)) == present


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


@pytest.mark.parametrize("route", SHOWN, ids=lambda route: route.handler.__name__)
def test_an_operation_says_all_that_its_route_says(route: Route[Any]) -> None:
    operation = DOCUMENT["paths"][public_path(route)][route.method.lower()]
    assert operation["summary"] == route.summary
    assert ("requestBody" in operation) == (route.body is not None)
    success = operation["responses"][str(route.status)]
    assert ("content" in success) == (route.result is not None)
    assert {*route.headers, "X-Request-ID", "Cache-Control"} == set(success["headers"])
    for problem in route.problems:
        response = COMPONENTS["responses"][operation["responses"][str(problem.status)]["$ref"].rsplit("/", 1)[1]]
        assert problem.slug in response["content"]["application/problem+json"]["examples"]


def told(part: Any, where: str = "#") -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Every example and default inside a schema, a header or a parameter."""
    if isinstance(part, list):
        for index, value in enumerate(part):
            yield from told(value, f"{where}/{index}")
    elif isinstance(part, dict):
        match part:
            case {"schema": dict(schema), "example": value}:
                yield where, schema, value
            case {"examples": list(values)}:
                for value in values:
                    yield where, part, value
        if "default" in part:
            yield where, part, part["default"]
        for name, value in part.items():
            if name not in ("example", "examples", "default"):
                yield from told(value, f"{where}/{name}")


def test_examples_and_defaults_of_schemas_headers_and_parameters_hold() -> None:
    for where, schema, value in told(DOCUMENT):
        validator = jsonschema_rs.validator_for({**schema, "components": COMPONENTS}, validate_formats=True)
        assert [error.message for error in validator.iter_errors(value)] == [], where


def test_a_part_that_says_no_example_is_noticed() -> None:
    with pytest.raises(KeyError, match="no example"):
        example({"type": "string"}, {})
