"""The audit log: who did what to which account, key or log, when and from where."""

from kingpost.audit.entries import Action, Actor, entry

__all__ = ["Action", "Actor", "entry"]
