"""The attacks on sessions and tokens, on two machines with one state."""
