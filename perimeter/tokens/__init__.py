"""Tokens that this gateway signs: their keys, issue, verification, and the memory of what was verified."""
