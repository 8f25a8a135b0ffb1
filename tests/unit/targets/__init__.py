"""Tests of `perimeter.targets`."""
