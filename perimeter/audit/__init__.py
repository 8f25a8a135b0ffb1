"""The audit log: one line for each request, however it ends."""
