"""Augmenters: they add roles and attributes to an authenticated user."""
