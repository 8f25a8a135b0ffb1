"""Tests of `perimeter.gate.sources`."""
