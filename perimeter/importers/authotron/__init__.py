"""Auth-o-tron configurations, read for import."""
