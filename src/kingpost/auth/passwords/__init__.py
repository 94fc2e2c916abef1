"""Passwords: rules, hashing, and proof of ownership by password."""
