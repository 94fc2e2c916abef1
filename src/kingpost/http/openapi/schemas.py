"""JSON Schemas and examples of what requests and responses hold, made from structs."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

type Schema = dict[str, Any]

PREFIX = "#/components/schemas/"
SUFFIX = "Body"
"""What sets the struct of a representation apart from the value in our code: `UserBody` is published as `User`."""


def schemas(types: Iterable[type[msgspec.Struct]]) -> dict[str, Schema]:
    """Return the schemas of structs, and of those that they hold, by their published names."""
    _, components = msgspec.json.schema_components(types, ref_template=PREFIX + "{name}")
    decoded = msgspec.json.decode(msgspec.json.encode(components), type=dict[str, Schema])
    named = {_published(name): schema | {"title": _published(name)} for name, schema in sorted(decoded.items())}
    return {name: _with_published_references(schema) for name, schema in named.items()}


def _published(name: str) -> str:
    return name.removesuffix(SUFFIX)


def _with_published_references(node: Any) -> Any:
    """Return a schema whose references name schemas as they are published.

    Only the value of a `$ref` changes: a text that looks like a name, in an example or an enumeration, stays.
    """
    match node:
        case {"$ref": str(reference)}:
            return {**node, "$ref": PREFIX + _published(reference.removeprefix(PREFIX))}
        case dict():
            return {
                key: part if key in ("examples", "enum", "const", "default") else _with_published_references(part)
                for key, part in node.items()
            }
        case list():
            return [_with_published_references(part) for part in node]
    return node


def reference(struct: type[msgspec.Struct]) -> Schema:
    """Return a reference to a struct's schema."""
    return {"$ref": PREFIX + _published(struct.__name__)}


def example(schema: Schema, components: Mapping[str, Schema]) -> Any:
    """An example of a schema, put together from those of its parts.

    Raises:
        KeyError: a part is any text or number, and says no example.
    """
    match schema:
        case {"$ref": str(ref)}:
            return example(components[ref.removeprefix(PREFIX)], components)
        case {"examples": [first, *_]} | {"enum": [first, *_]}:
            return first
        case {"anyOf": [first, *_]}:
            return example(first, components)
        case {"type": "object", "properties": dict(members)}:
            shown = {name: part for name, part in members.items() if name in schema["required"] or _is_telling(part)}
            return {name: example(part, components) for name, part in shown.items()}
        case {"type": "array", "items": dict(items)}:
            return [example(items, components)]
        case {"type": "boolean"}:
            return True
        case {"type": "null"}:
            return None
    raise KeyError(f"There is no example in {schema}")


def _is_telling(schema: Schema) -> bool:
    """Whether a member that may be left out is worth showing: it says an example itself."""
    return any("examples" in part for part in (schema, *schema.get("anyOf", ())))


def query_parameters(query: type[msgspec.Struct]) -> list[Schema]:
    """The parameter objects of a query."""
    [schema] = msgspec.json.schema_components([query], ref_template=PREFIX + "{name}")[1].values()
    return [_parameter(name, part, name in schema["required"]) for name, part in schema["properties"].items()]


def _parameter(name: str, schema: Schema, is_required: bool) -> Schema:
    if "anyOf" in schema:
        # Null stands for absence: a parameter that is given always has a text.
        schema = schema["anyOf"][0]
    rest = {key: value for key, value in schema.items() if key != "description"}
    return {
        "name": name,
        "in": "query",
        "description": schema["description"],
        "required": is_required,
        "schema": rest,
    }
