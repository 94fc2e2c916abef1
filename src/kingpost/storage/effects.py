"""What commits together with a write: the effects that a feature hands over with it."""

from collections.abc import Sequence

import msgspec

type Effects = Sequence[msgspec.Struct]
"""Plain values, such as an entry of the audit log, a job to enqueue, or the session that has to be alive.

They are stored in the transaction of their write, or not at all if the write fails. An effect that demands something
undoes the write if that does not hold. Each type of effect is registered with the database by its room (`KINDS`).
"""

NO_EFFECTS: Effects = ()
