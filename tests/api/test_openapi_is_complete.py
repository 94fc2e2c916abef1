"""The OpenAPI document is complete: it describes the routes fully, and all its references resolve."""

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
DOCUMENTED = [route for route in ROUTES if not route.is_hidden]


def test_every_reference_resolves_and_every_component_is_referenced() -> None:
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


@pytest.mark.parametrize("route", DOCUMENTED, ids=lambda route: route.handler.__name__)
def test_an_operation_documents_everything_its_route_declares(route: Route[Any]) -> None:
    operation = DOCUMENT["paths"][public_path(route)][route.method.lower()]
    assert operation["summary"] == route.summary
    assert ("requestBody" in operation) == (route.body is not None)
    success = operation["responses"][str(route.status)]
    assert ("content" in success) == (route.result is not None)
    assert {*route.headers, "X-Request-ID", "Cache-Control"} == set(success["headers"])
    for problem in route.problems:
        response = COMPONENTS["responses"][operation["responses"][str(problem.status)]["$ref"].rsplit("/", 1)[1]]
        assert problem.slug in response["content"]["application/problem+json"]["examples"]


def examples_and_defaults(part: Any, where: str = "#") -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Every example and default inside a schema, a header or a parameter."""
    if isinstance(part, list):
        for index, value in enumerate(part):
            yield from examples_and_defaults(value, f"{where}/{index}")
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
                yield from examples_and_defaults(value, f"{where}/{name}")


def test_examples_and_defaults_match_their_schemas() -> None:
    for where, schema, value in examples_and_defaults(DOCUMENT):
        validator = jsonschema_rs.validator_for({**schema, "components": COMPONENTS}, validate_formats=True)
        assert [error.message for error in validator.iter_errors(value)] == [], where


def test_a_schema_without_an_example_is_an_error() -> None:
    with pytest.raises(KeyError, match="no example"):
        example({"type": "string"}, {})
