"""Tests of `perimeter.auth.augment`."""
