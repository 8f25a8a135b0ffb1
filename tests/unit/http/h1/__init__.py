"""Tests of `perimeter.http.h1`."""
