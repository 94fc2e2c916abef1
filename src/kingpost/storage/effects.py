"""Effects: values that commit together with a write."""

from collections.abc import Sequence

import msgspec

type Effects = Sequence[msgspec.Struct]
"""Plain values, such as an audit entry, a job to enqueue, or the session that must still be active.

They are stored in the transaction of their write, or not at all if the write fails. An effect with a condition rolls
the write back if the condition is false. Each room registers its types of effects (`KINDS` in `sql.py`).
"""

NO_EFFECTS: Effects = ()
