"""Tests of `perimeter.emit`."""
