"""Reinforcement learning: games → episodes of the model in training → advantages → updates of its weights."""
