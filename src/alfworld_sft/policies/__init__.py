"""Who plays: the expert, the planner, a random player, a script, or a language model."""
