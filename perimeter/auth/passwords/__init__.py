"""Password schemes, and the files that hold hashed passwords."""
