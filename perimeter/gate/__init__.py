"""The gate: which route a request belongs to, who the user is, and whether they may do it."""
