"""The HTTP client for services that the gateway asks: bounded in time, size and connections."""
