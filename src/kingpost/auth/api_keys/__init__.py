"""API keys: credentials for machines."""
