"""Accounts: sign-up, verification of addresses, recovery, changes, export, deletion and administration."""
