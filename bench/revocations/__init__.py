"""Revocations with several workers: whether each is in force in all workers when it is answered, and how soon."""
