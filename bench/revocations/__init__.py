"""Revocations in a gateway with several workers: whether each is in force everywhere once it is answered, and how soon."""
