"""Models and their checkpoints, below both playing and training: ids and loss mask, loading, merging, the stamp."""
