"""Tests of `perimeter.manager`."""
