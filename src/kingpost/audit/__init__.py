"""The audit log: who did what to which account, key or log, when and from where."""

from kingpost.audit.entries import Action, entry

__all__ = ["Action", "entry"]
