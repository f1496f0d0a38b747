"""Sentences of a report: headlines, methods, p and numbers, citations."""
