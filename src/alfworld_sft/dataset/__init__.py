"""Episodes → a dataset folder: choose episodes, split them by game, derive rows, write the files."""
