"""Who is asking: credentials, passwords, the realm file, and the chain of authenticators that is asked in order."""
