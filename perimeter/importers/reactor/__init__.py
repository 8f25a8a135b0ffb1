"""Reactor's configuration, read for import."""
