"""Fitted encoders that a study keeps, and what they predict of new photographs."""
