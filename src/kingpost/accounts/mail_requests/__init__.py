"""Requests for links by mail, which anyone may send for any address."""
