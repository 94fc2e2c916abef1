"""The one-time tokens in links that are sent by mail."""
