"""What the processes of one gateway share: a page of memory, and the connection between a worker and the manager."""
