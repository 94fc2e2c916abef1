"""The accounts themselves: read, list, change and delete them."""
