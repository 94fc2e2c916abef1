"""Parse and validate query strings and bodies. All faults are reported, not only the first."""

from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from itertools import islice
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec.inspect import IntType, LiteralType, Metadata, StrType

from kingpost.http.app.fields import END, LOWERED
from kingpost.jsontools.faults import pointer
from kingpost.problems import MAX_FAULTS, Fault, InvalidRequest

type Rules = Callable[[dict[str, Any]], Iterable[Fault]]
"""Validation rules that a JSON Schema cannot express. They receive the decoded body, which may violate the schema."""

MAX_PARAMETERS: Final = 100
MAX_ITEMS: Final = 1000
"""Maximum number of items, of all arrays of a body together, in which faults are sought."""
TYPED_LEVELS: Final = 3
"""The levels of arrays and objects that types of bodies describe. Deeper ones are values of any form."""
DOCUMENTED_FORM: Final = "have the documented form"
TYPE_NAMES: Final = {
    "array": "an array",
    "boolean": "true or false",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}


@lru_cache(maxsize=1024)
def parse_query[T: msgspec.Struct](query_string: bytes, query_type: type[T]) -> T:
    """Parse a query string to a struct. Results are cached.

    A struct that does not forbid unknown fields belongs to a page behind a link, to which mail providers append
    parameters of their own. Then everything is passed over but the first value of each known parameter.

    Raises:
        InvalidRequest: with a fault for each parameter that is unknown, repeated or invalid.
    """
    if not query_string:
        return query_type()
    is_strict = query_type.__struct_config__.forbid_unknown_fields
    try:
        text = query_string.decode("ascii" if is_strict else "latin-1")
        errors = "strict" if is_strict else "replace"
        pairs = parse_qsl(text, keep_blank_values=True, errors=errors, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        detail = f"The query string is not valid UTF-8, or has more than {MAX_PARAMETERS} parameters"
        raise InvalidRequest(detail) from None
    faults: list[Fault] = []
    values: dict[str, Any] = {}
    fields = {field.name: field.type for field in msgspec.structs.fields(query_type)}
    for name, text in pairs:
        if not is_strict and (name not in fields or name in values):
            continue
        if name not in fields:
            detail = f"Unknown query parameter. Known parameters: {', '.join(fields) or 'none'}"
            faults.append(Fault(detail, "unknown_parameter", parameter=name[:100]))
        elif name in values:
            faults.append(Fault(f"The parameter `{name}` must not be repeated", "repeated", parameter=name))
        else:
            try:
                value = msgspec.convert(text, _without_none(fields[name]), strict=False)
                values[name] = value.lower() if LOWERED in _extra(fields[name]) else value
            except msgspec.ValidationError:
                values[name] = None
                detail = f"The parameter `{name}` must {_parameter_requirement(fields[name])}"
                faults.append(Fault(detail, "invalid", parameter=name))
    if faults:
        raise InvalidRequest.of(*faults)
    return query_type(**values)


def parse_body[T](document: Any, body_type: type[T], rules: Rules | None) -> T:
    """Convert a decoded body to a struct.

    Raises:
        InvalidRequest: with a fault for each field that is unknown, missing or invalid.
    """
    try:
        return msgspec.convert(document, body_type)
    except msgspec.ValidationError:
        faults = list(islice(schema_faults(document, body_type), MAX_FAULTS + 1))
        if rules is not None and isinstance(document, dict):
            known = {(fault.pointer, fault.code) for fault in faults}
            faults += [fault for fault in rules(document) if (fault.pointer, fault.code) not in known]
        # JSON Schema takes 1.0 for an integer, so that there may be none.
        faults = faults or [Fault(f"The body must {DOCUMENTED_FORM}", "form", pointer="")]
        raise InvalidRequest.of(*faults) from None


def schema_faults(document: Any, body_type: type) -> Iterable[Fault]:
    """Yield a fault for each violation of the JSON Schema of a type, but not for every item of a very long array."""
    schema, validator = _schema_and_validator(body_type)
    for error in validator.iter_errors(_abridged(document)):
        yield from _faults_of(error, schema)


def _abridged(document: Any) -> Any:
    """Return the part of a document in which its faults are sought.

    The validator finds all faults before it returns the first, and copies the document. So leave out what no type
    describes, and items that could only add faults beyond the reported number.
    """
    room = iter(range(MAX_ITEMS))

    def part(value: Any, levels: int) -> Any:
        if isinstance(value, dict):
            return {name: part(child, levels - 1) for name, child in value.items()} if levels else {}
        if isinstance(value, list):
            return (
                [part(item, levels - 1) for item, _ in zip(value[: MAX_FAULTS + 1], room, strict=False)]
                if levels
                else []
            )
        return float(bytes(value)) if isinstance(value, msgspec.Raw) else value

    return part(document, TYPED_LEVELS)


@cache
def _schema_and_validator(body_type: type) -> tuple[dict[str, Any], Any]:
    # Imported on first use: only invalid bodies need the library, and it costs memory in every worker.
    import jsonschema_rs  # noqa: PLC0415

    schema = msgspec.json.schema(body_type)
    return schema, jsonschema_rs.validator_for(schema)


def _faults_of(error: Any, schema: dict[str, Any]) -> Iterable[Fault]:
    """Describe an error of the validator, whose own messages quote the rejected value."""
    path = error.instance_path
    kind = error.kind
    match kind.name:
        case "required":
            detail = f"The field `{kind.property}` is required"
            yield Fault(detail, "required", pointer=pointer([*path, kind.property]))
        case "additionalProperties":
            detail = f"Unknown field. Known fields: {', '.join(_known_fields(error, schema))}"
            for name in kind.unexpected:
                yield Fault(detail, "unknown_field", pointer=pointer([*path, name]))
        case "type" | "anyOf":
            yield Fault(f"The value must {_requirement(error)}", "type", pointer=pointer(path))
        case "minLength" | "minItems":
            yield Fault(f"The value must {_requirement(error)}", "too_short", pointer=pointer(path))
        case "maxLength" | "maxItems":
            yield Fault(f"The value must {_requirement(error)}", "too_long", pointer=pointer(path))
        case "enum" | "const":
            yield Fault(f"The value must {_requirement(error)}", "enum", pointer=pointer(path))
        case name:
            yield Fault(f"The value must {_requirement(error)}", name, pointer=pointer(path))


def _known_fields(error: Any, schema: Any) -> Iterable[str]:
    """Return the fields of the object in which the validator found an unknown one."""
    for step in error.schema_path[:-1]:
        schema = schema[step]
    names: Iterable[str] = schema["properties"]
    return names


def _requirement(error: Any) -> str:
    """Describe the requirement that a value does not meet, as the end of "The value must …"."""
    kind = error.kind
    match kind.name:
        case "type":
            return f"be {' or '.join(TYPE_NAMES[name] for name in kind.types)}"
        case "anyOf":
            # `context` has a list of errors for each alternative. Errors inside of the value do not describe the value.
            firsts = [errors[0] for errors in kind.context if errors[0].instance_path == error.instance_path]
            return " or ".join(map(_requirement, firsts)) if len(firsts) == len(kind.context) else DOCUMENTED_FORM
        case "minLength":
            return f"have {kind.limit} or more characters"
        case "maxLength":
            return f"have {kind.limit} or fewer characters"
        case "minItems":
            return f"have {kind.limit} or more items"
        case "maxItems":
            return f"have {kind.limit} or fewer items"
        case "uniqueItems":
            return "not contain duplicates"
        case "enum":
            return f"be one of: {', '.join(kind.options)}"
        case "pattern":
            return f"match the pattern {kind.pattern.replace(END, '$')}"
    return DOCUMENTED_FORM


def _parameter_requirement(annotation: Any) -> str:
    """Describe the values that a query parameter allows, as the end of "The parameter must …"."""
    info = msgspec.inspect.type_info(_without_none(annotation))
    if LOWERED in (extra := _extra(annotation)):
        return str(extra[LOWERED])
    match info.type if isinstance(info, Metadata) else info:
        case LiteralType(values=values):
            return f"be one of: {', '.join(map(str, values))}"
        case IntType(ge=int(low), le=None):
            return f"be an integer of {low} or more"
        case IntType(ge=int(low), le=int(high)):
            return f"be an integer from {low} to {high}"
        case StrType(max_length=int(length), pattern=None):
            return f"have {length} or fewer characters"
        case StrType(max_length=None, pattern=str(pattern)):
            return f"match the pattern {pattern.replace(END, '$')}"
        case StrType(max_length=int(length), pattern=str(pattern)):
            return f"have {length} or fewer characters and match the pattern {pattern.replace(END, '$')}"
    return DOCUMENTED_FORM


def _extra(annotation: Any) -> dict[str, Any]:
    """Return the `Meta.extra` of the type of a parameter."""
    info = msgspec.inspect.type_info(_without_none(annotation))
    return (info.extra or {}) if isinstance(info, Metadata) else {}


def _without_none(annotation: Any) -> Any:
    """Remove None from the type of a parameter. None stands for an absent parameter; the text `null` is a string."""
    arguments = [a for a in getattr(annotation, "__args__", ()) if a is not type(None)]
    optional = len(arguments) == 1 and type(None) in annotation.__args__
    return arguments[0] if optional else annotation
