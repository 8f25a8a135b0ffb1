"""Sign-in at OpenID providers (OpenID Connect Core 1.0): what the gateway asks a provider, and what it believes of the
answers."""
