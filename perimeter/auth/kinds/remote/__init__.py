"""Authenticators that ask another service who holds a token, or that verify the JWTs of other issuers."""
