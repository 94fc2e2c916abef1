"""The ASGI application: the processing that all requests share."""
