"""HTTP/1.1 towards both sides: one strict grammar, one place where framing is decided, and the client's connection."""
