"""What the gateway itself answers: the token endpoints, static directories, redirects, the sample service, error pages."""
