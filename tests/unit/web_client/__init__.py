"""Tests of `perimeter.web_client`."""
