"""Tests of `perimeter.net`."""
