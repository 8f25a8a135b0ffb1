"""Tests of `perimeter.auth.kinds`."""
