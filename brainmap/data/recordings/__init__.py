"""From a raw recording to single trials: triggers, epochs, first-level models."""
