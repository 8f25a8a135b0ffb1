"""Tests of `perimeter.state`."""
