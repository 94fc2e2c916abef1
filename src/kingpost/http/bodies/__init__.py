"""What requests and responses hold. The OpenAPI document shows these types and their docstrings."""
