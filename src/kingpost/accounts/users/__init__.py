"""Accounts: reading, changing and deleting them."""
