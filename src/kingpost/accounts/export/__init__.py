"""The export of everything that is stored about an account."""
