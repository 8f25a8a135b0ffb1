"""What a route can lead to besides an upstream: files, a redirect, metrics, the answers to other proxies."""
