"""The audit log: one line for each request, whatever its end."""
