"""Forwards admitted requests to upstreams: rewrites headers, pools connections, and streams bodies in both directions."""
