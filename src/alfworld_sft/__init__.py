"""Collect SFT data from ALFWorld text games and train language-model agents on it."""

__version__ = "0.2.0"
