"""What the gateway itself answers: the built-in endpoints, pages, the sample service, and the bridge to `twisted.web`."""
