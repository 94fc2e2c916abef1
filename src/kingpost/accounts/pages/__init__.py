"""The two pages that links in mail lead to."""
