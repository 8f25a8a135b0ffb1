"""Tells Perimeter of the kind ``api-keys``. A module in ``twisted/plugins`` holds instances and nothing else."""

from perimeter_example_authenticator import KeyFactory

api_keys = KeyFactory()
