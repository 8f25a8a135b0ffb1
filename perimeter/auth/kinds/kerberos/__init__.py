"""Kerberos tickets (RFC 4120) in HTTP (RFC 4559) as an authenticator."""
