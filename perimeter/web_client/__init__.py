"""The HTTP client for services that the gateway calls: bounded in time, size and connections."""
