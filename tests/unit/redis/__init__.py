"""Tests of `perimeter.redis`."""
