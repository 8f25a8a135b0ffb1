"""Tests of `perimeter.importers.authotron`."""
