"""Tests of `perimeter.importers.nginx`."""
