"""The client of a Redis or Valkey server: connections, deadlines, Sentinel."""
