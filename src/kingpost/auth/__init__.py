"""Authentication: sessions and tokens, passwords, the second factor, API keys, signing keys, revocations."""
