"""Tests of `perimeter.auth`."""
