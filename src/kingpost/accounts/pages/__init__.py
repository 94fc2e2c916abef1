"""The web pages that links in mail open."""
