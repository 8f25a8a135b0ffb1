"""Perimeter: a gateway that authenticates, authorises, forwards and writes down what happened."""

__version__ = "0.1.0"
