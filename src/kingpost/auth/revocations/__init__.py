"""Revocations: ended sessions, changed roles and removed signing keys, on all nodes."""
