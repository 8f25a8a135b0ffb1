"""Tests of the benchmark in `bench`: what it computes and prints, without its peers."""
