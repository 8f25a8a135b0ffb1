"""Figures for Prometheus: counted where they arise, read from what is in force, and told to whoever scrapes."""
