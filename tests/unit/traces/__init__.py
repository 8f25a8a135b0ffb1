"""Tests of `perimeter.traces`."""
