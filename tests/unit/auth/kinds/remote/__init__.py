"""Tests of `perimeter.auth.kinds.remote`."""
