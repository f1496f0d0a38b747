"""One layer's side of the solver: its statistics, factors and spectrum, and the scores of every alpha."""
