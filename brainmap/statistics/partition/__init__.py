"""Variance that feature spaces explain alone and together, with one penalty for all or one for each."""
