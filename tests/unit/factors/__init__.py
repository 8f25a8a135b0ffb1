"""Tests of perimeter.factors."""
