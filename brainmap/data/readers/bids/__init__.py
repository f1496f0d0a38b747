"""Readers of BIDS folders."""
