"""Tests of `perimeter.auth.kinds.kerberos`."""
