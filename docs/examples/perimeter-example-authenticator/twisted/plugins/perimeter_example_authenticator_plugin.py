"""Registers the kinds ``api-keys``, ``name-prefix`` and ``portal`` with Perimeter: one instance of each factory."""

from perimeter_example_authenticator import KeyFactory, PrefixFactory
from perimeter_example_authenticator.portal import PortalFactory

api_keys = KeyFactory()
name_prefix = PrefixFactory()
portal = PortalFactory()
