"""Pierhead: a container platform in Python.  Import the room you need, e.g. ``pierhead.runtime``."""

__version__ = "0.1.0"
