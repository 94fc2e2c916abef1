"""The throttle of attempts at passwords and codes, and the counters behind it."""
