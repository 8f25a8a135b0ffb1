"""Tests of `perimeter.http`."""
