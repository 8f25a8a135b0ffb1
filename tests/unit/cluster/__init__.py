"""Tests of `perimeter.cluster`."""
