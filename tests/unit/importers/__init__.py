"""Tests of `perimeter.importers`."""
