"""Tests of `perimeter.auth.passwords`."""
