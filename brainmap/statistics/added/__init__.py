"""Gradients beyond activations: the added value of one set of features over another, its interval and its test."""
