"""The HTTP server: connections, worker processes, start and stop."""
