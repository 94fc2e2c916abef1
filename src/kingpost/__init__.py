"""Kingpost: the backend you would otherwise write."""

from importlib.metadata import version

__version__ = version("kingpost")
