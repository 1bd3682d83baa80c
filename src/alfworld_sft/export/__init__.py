"""A run → files that other frameworks read, each written in full or not at all."""
