"""The audit log: which actor did what to which account, key or log, when and from where."""

from kingpost.audit.entries import Action, entry

__all__ = ["Action", "entry"]
