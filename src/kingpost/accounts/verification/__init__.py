"""Verification of e-mail addresses, and moving an account to another address."""
