"""Metrics for Prometheus: counted where they arise, or read from the running gateway at each scrape."""
