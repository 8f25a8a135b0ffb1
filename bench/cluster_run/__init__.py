"""Gateways on a real Redis with Sentinels whose primary is killed again and again: whether anything is wrong meanwhile."""
