"""Accounts: who has one, how they get it, prove their address, recover it, export it and delete it."""
