"""The chain of authenticators: who is asked, in which order, how often, and what is remembered."""
