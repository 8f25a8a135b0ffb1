"""Limits for clients: how often, how much, and how many requests at a time, counted by all worker processes together."""
