"""The tokens that links in mail carry."""
