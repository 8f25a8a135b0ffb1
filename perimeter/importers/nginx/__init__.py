"""nginx configurations, read for import."""
