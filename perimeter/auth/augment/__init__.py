"""Augmenters: what adds roles and attributes to a user who is known already."""
