"""The record of a job in the export of its account."""

from typing import Annotated

import msgspec
from msgspec import Meta

from kingpost.http.app.fields import Id, Time


class ExportedJob(msgspec.Struct, frozen=True):
    """A message that is waiting to be sent, or that could not be sent."""

    id: Id
    kind: Annotated[str, Meta(examples=["mail"])]
    created_at: Time
    attempts: Annotated[int, Meta(ge=0, examples=[1])]
