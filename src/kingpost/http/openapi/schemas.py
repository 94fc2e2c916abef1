"""Generate JSON Schemas and examples of requests and responses from structs."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

type Schema = dict[str, Any]

PREFIX = "#/components/schemas/"
SUFFIX = "Body"
"""The suffix of structs that describe representations. It is not published: `UserBody` is published as `User`."""


def schemas(types: Iterable[type[msgspec.Struct]]) -> dict[str, Schema]:
    """Return the schemas of structs and of their nested structs, by published name."""
    _, components = msgspec.json.schema_components(types, ref_template=PREFIX + "{name}")
    decoded = msgspec.json.decode(msgspec.json.encode(components), type=dict[str, Schema])
    named = {_published(name): schema | {"title": _published(name)} for name, schema in sorted(decoded.items())}
    return {name: _with_published_references(schema) for name, schema in named.items()}


def _published(name: str) -> str:
    return name.removesuffix(SUFFIX)


def _with_published_references(node: Any) -> Any:
    """Return a schema in which all references have published names.

    Only values of `$ref` are changed. Text in an example or an enumeration stays the same, even if it looks like a
    reference.
    """
    match node:
        case {"$ref": str(reference)}:
            return {**node, "$ref": PREFIX + _published(reference.removeprefix(PREFIX))}
        case dict():
            return {
                key: value if key in ("examples", "enum", "const", "default") else _with_published_references(value)
                for key, value in node.items()
            }
        case list():
            return [_with_published_references(item) for item in node]
    return node


def reference(struct: type[msgspec.Struct]) -> Schema:
    """Return a reference to a struct's schema."""
    return {"$ref": PREFIX + _published(struct.__name__)}


def example(schema: Schema, components: Mapping[str, Schema]) -> Any:
    """Build an example of a schema from the examples of its parts.

    Optional fields are included only if they declare an example.

    Raises:
        KeyError: a string or number in the schema declares no example.
    """
    match schema:
        case {"$ref": str(ref)}:
            return example(components[ref.removeprefix(PREFIX)], components)
        case {"examples": [first, *_]} | {"enum": [first, *_]}:
            return first
        case {"anyOf": [first, *_]}:
            return example(first, components)
        case {"type": "object", "properties": dict(fields)}:
            shown = {name: field for name, field in fields.items() if name in schema["required"] or _has_example(field)}
            return {name: example(field, components) for name, field in shown.items()}
        case {"type": "array", "items": dict(items)}:
            return [example(items, components)]
        case {"type": "boolean"}:
            return True
        case {"type": "null"}:
            return None
    raise KeyError(f"There is no example in {schema}")


def _has_example(schema: Schema) -> bool:
    """Return whether the schema of a field declares an example."""
    return any("examples" in alternative for alternative in (schema, *schema.get("anyOf", ())))


def query_parameters(query: type[msgspec.Struct]) -> list[Schema]:
    """Return the OpenAPI parameter objects for a struct of query parameters."""
    [schema] = msgspec.json.schema_components([query], ref_template=PREFIX + "{name}")[1].values()
    return [_parameter(name, field, name in schema["required"]) for name, field in schema["properties"].items()]


def _parameter(name: str, schema: Schema, is_required: bool) -> Schema:
    if "anyOf" in schema:
        # Null stands for an absent parameter, so clients never send it.
        schema = schema["anyOf"][0]
    rest = {key: value for key, value in schema.items() if key != "description"}
    return {
        "name": name,
        "in": "query",
        "description": schema["description"],
        "required": is_required,
        "schema": rest,
    }
