"""The export of all data stored about an account."""
