"""The interfaces that plug-ins implement, and the objects that they get: the only package that third parties import."""
