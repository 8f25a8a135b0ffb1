"""Tests of `perimeter.config`."""
