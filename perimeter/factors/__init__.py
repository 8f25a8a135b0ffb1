"""Second factors: what is kept of them, and how a user proves one."""
