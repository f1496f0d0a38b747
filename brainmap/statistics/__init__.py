"""What may be said of scores: significance, permutations, added value of gradients, ceilings, clusters, variance."""
