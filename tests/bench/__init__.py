"""Tests of the benchmark in `bench`: its calculations and its output, without its peers."""
