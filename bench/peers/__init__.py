"""The gateway and the programs it is compared with: how each is configured, started and called."""
