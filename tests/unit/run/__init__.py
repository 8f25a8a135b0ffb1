"""Tests of `perimeter.run`."""
