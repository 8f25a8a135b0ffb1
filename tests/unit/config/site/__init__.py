"""Tests of `perimeter.config.site`."""
