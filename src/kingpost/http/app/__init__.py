"""The ASGI application: what happens to every request."""
