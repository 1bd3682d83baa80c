"""What every run has: how an episode is played, how many are, where they are stored, how a run resumes."""
