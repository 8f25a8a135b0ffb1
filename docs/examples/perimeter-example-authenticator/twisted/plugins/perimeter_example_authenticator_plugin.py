"""Tells Perimeter of the kinds ``api-keys`` and ``name-prefix``: instances of their factories, and nothing else."""

from perimeter_example_authenticator import KeyFactory, PrefixFactory

api_keys = KeyFactory()
name_prefix = PrefixFactory()
