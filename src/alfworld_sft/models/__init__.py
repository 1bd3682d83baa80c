"""Models and their checkpoints, shared by playing and training: ids and loss mask, loading, merging, the stamp."""
