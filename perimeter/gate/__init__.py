"""The gate: which route a request belongs to, who is asking, and whether they may."""
