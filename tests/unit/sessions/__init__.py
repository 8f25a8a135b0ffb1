"""Tests of `perimeter.sessions`."""
