"""The endpoints of sign-ins at providers."""
