"""Tests of `perimeter.cli`."""
