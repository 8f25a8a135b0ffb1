"""Tests of `perimeter.auth.kinds.ldap`."""
