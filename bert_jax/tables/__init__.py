"""The embedding tables as things of their own: kept, read, moved to another vocabulary, resized."""
