"""Tests of `perimeter.web.endpoints`."""
