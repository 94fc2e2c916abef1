"""From text to checked values: query strings and bodies. All faults are found and named, not only the first."""

from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from kingpost.jsontools.faults import MAX_FAULTS, pointer
from kingpost.problems import Fault, InvalidRequest

type Rules = Callable[[dict[str, Any]], Iterable[Fault]]
"""Rules that a schema cannot state. They are given the decoded body, which may break the schema."""


@lru_cache(maxsize=1024)
def parse_query[T: msgspec.Struct](query_string: bytes, query_type: type[T]) -> T:
    """The query parameters as a struct. The same text is parsed once.

    Raises:
        InvalidRequest: with a fault for each parameter that is unknown, repeated or breaks its rule.
    """
    if not query_string:
        return query_type()
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise InvalidRequest("The query string is not valid UTF-8, or too long") from None
    faults: list[Fault] = []
    values: dict[str, Any] = {}
    fields = {field.name: field.type for field in msgspec.structs.fields(query_type)}
    for name, text in pairs:
        if name not in fields:
            faults.append(Fault("There is no such parameter", "unknown_parameter", parameter=name[:100]))
        elif name in values:
            faults.append(Fault("The parameter stands here twice", "repeated", parameter=name))
        else:
            try:
                values[name] = msgspec.convert(text, _without_none(fields[name]), strict=False)
            except msgspec.ValidationError as error:
                values[name] = None
                faults.append(Fault(str(error), "invalid", parameter=name))
    if faults:
        raise InvalidRequest.of(*faults)
    return query_type(**values)


def parse_body[T](document: Any, body_type: type[T], rules: Rules | None) -> T:
    """A decoded body as a struct.

    Raises:
        InvalidRequest: with a fault for each member that is unknown, missing or breaks its rule.
    """
    try:
        return msgspec.convert(document, body_type)
    except msgspec.ValidationError:
        faults = list(islice(schema_faults(document, body_type), MAX_FAULTS))
        if rules is not None and isinstance(document, dict):
            known = {(fault.pointer, fault.code) for fault in faults}
            faults += [fault for fault in rules(document) if (fault.pointer, fault.code) not in known]
        raise InvalidRequest.of(*faults) from None


def schema_faults(document: Any, body_type: type) -> Iterable[Fault]:
    """Every place where a document breaks the JSON Schema of a type."""
    for error in _validator(body_type).iter_errors(document):
        yield from _faults_of(error)


@cache
def _validator(body_type: type) -> Any:
    # Only a faulty body needs it, and it costs memory in every worker.
    import jsonschema_rs  # noqa: PLC0415

    return jsonschema_rs.validator_for(msgspec.json.schema(body_type))


def _faults_of(error: Any) -> Iterable[Fault]:
    """Faults in our own words: the validator's repeat the refused value."""
    path = error.instance_path
    kind = error.kind
    match kind.name:
        case "required":
            yield Fault("This member is missing", "required", pointer=pointer([*path, kind.property]))
        case "additionalProperties":
            for name in kind.unexpected:
                yield Fault("There is no such member", "unknown_field", pointer=pointer([*path, name]))
        case "type" | "anyOf":
            yield Fault("This has the wrong type", "type", pointer=pointer(path))
        case "minLength" | "minItems":
            yield Fault(f"This must have a length of {kind.limit} or more", "too_short", pointer=pointer(path))
        case "maxLength" | "maxItems":
            yield Fault(f"This must have a length of {kind.limit} at most", "too_long", pointer=pointer(path))
        case "enum" | "const":
            yield Fault("This is not one of the values that are known", "enum", pointer=pointer(path))
        case name:
            yield Fault("This does not have the form that it must have", name, pointer=pointer(path))


def _without_none(annotation: Any) -> Any:
    """The annotation of a parameter that was given: then it cannot be None, and `null` is a text."""
    arguments = [a for a in getattr(annotation, "__args__", ()) if a is not type(None)]
    optional = len(arguments) == 1 and type(None) in annotation.__args__
    return arguments[0] if optional else annotation
