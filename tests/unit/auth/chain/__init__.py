"""Tests of `perimeter.auth.chain`."""
