"""The text-only expert: reading → belief → search and decision → thoughts and prediction."""
