"""A dataset at a glance, one episode, or one row: drawn for people."""
