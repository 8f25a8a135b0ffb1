"""Registers the kinds ``api-keys`` and ``name-prefix`` with Perimeter: one instance of each factory."""

from perimeter_example_authenticator import KeyFactory, PrefixFactory

api_keys = KeyFactory()
name_prefix = PrefixFactory()
