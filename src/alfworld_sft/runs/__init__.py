"""Shared by all runs: playing one episode or many, storing them, and resuming a run."""
