"""Who plays: the expert, the planner, a random player, a script; later language models."""
