"""Configurations for other proxies that ask this gateway (``perimeter emit``): one module for each proxy, and what they share."""
