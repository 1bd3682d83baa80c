"""A person plays a game in the terminal, or watches a policy play."""
