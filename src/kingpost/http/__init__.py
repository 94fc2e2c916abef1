"""The HTTP machine. It knows no feature."""
