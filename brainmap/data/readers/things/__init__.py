"""Readers of the THINGS datasets."""
