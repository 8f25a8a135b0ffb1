"""Certificates that the gateway gets from a CA by itself, by the protocol ACME (RFC 8555), and their renewal (RFC 9773)."""
