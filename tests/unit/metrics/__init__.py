"""Tests of `perimeter.metrics`."""
