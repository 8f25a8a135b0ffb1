"""Authenticators that ask a service elsewhere who holds a token, and the judgement of JWTs that others have signed."""
