"""Sign-ins at providers: those under way, and the identities to which user names are bound."""
