"""What must outlive a process: API tokens, and what was revoked before its time."""
