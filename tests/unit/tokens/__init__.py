"""Tests of `perimeter.tokens`."""
