"""What the gateway is compared with, and the gateway itself: how each is configured, started and asked."""
