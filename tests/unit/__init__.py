"""Tests without real peers."""
