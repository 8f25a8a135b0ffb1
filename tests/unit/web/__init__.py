"""Tests of `perimeter.web`."""
