"""A job as the export of its account shows it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from kingpost.http.app.fields import Id, Time


class ExportedJob(msgspec.Struct, frozen=True):
    """A message that waits to be sent, or that could not be."""

    id: Id
    kind: Annotated[str, Meta(examples=["mail"])]
    created_at: Time
    attempts: Annotated[int, Meta(ge=0, examples=[1])]
