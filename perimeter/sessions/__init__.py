"""Sessions of browsers: what a sign-in leaves behind, until it ends."""
