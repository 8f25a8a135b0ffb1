"""Tests of `perimeter.config.language`."""
