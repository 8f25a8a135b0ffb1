"""The built-in endpoints: tokens, keys, and what the gateway says of itself."""
