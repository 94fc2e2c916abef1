"""Values that handlers send instead of the structs that document them."""

from types import NoneType
from typing import get_args

import msgspec
import pytest

from kingpost.audit.schemas import AuditEntryBody
from kingpost.http.app.schemas import FaultBody
from kingpost.http.openapi.schemas import example, reference, schemas
from kingpost.model import AuditEntry, Resource
from kingpost.problems import Fault
from kingpost.resources.schemas import ResourceBody

type Struct = type[msgspec.Struct]

SENT_AS_DOCUMENTED = [
    (Resource, ResourceBody),
    (AuditEntry, AuditEntryBody),
    (Fault, FaultBody),
]


@pytest.mark.parametrize(("sent", "documented"), SENT_AS_DOCUMENTED)
def test_a_value_has_the_fields_and_the_encoding_of_its_documented_body(sent: Struct, documented: Struct) -> None:
    assert sent.__struct_encode_fields__ == documented.__struct_encode_fields__
    assert optional_fields(sent) == optional_fields(documented)
    text = msgspec.json.encode(example(reference(documented), schemas([documented])))
    for struct in (sent, documented):
        assert msgspec.json.encode(msgspec.json.decode(text, type=struct)) == text


def optional_fields(struct: Struct) -> set[str]:
    """Return the names of the fields that may be null or absent."""
    return {
        field.name
        for field in msgspec.structs.fields(struct)
        if {NoneType, msgspec.UnsetType} & set(get_args(field.type))
    }
