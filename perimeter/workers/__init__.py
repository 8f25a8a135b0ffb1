"""Shared parts of the processes of one gateway: a page of memory, and the connection between a worker and the manager."""
