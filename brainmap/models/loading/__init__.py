"""From a name to a model with weights: where weights are, how they are fetched, cards found by probing."""
