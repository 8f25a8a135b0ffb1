"""Perimeter: a gateway that authenticates, authorises, forwards and writes an audit log."""

__version__ = "0.1.0"
