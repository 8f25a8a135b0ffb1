"""Tests of `perimeter.importers.reactor`."""
