"""Tests of `perimeter.proxy`."""
