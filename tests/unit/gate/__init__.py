"""Tests of `perimeter.gate`."""
