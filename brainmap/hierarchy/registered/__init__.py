"""Hypotheses that are written down before the scores are read, and what became of each."""
