"""Tests of the comparison with Auth-o-tron."""
