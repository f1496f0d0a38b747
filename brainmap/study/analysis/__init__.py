"""From encoded scores to the tables of a study: above chance, orders, hypotheses, gradients beyond activations."""
