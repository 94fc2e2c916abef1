"""The HTTP layer. It does not depend on any feature."""
