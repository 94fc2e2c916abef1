"""Verification of e-mail addresses, and changes of an account's address."""
