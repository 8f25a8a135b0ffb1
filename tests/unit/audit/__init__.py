"""Tests of `perimeter.audit`."""
