"""Passwords: rules, hashing, changes, and reauthentication by password."""
