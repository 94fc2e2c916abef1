"""The HTTP server: connections, worker processes, startup and shutdown."""
