"""What all runs share: playing one episode or many, storing them, and resuming a run."""
