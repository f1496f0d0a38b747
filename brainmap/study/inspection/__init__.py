"""Looking before computing: the machine, the lists of models and datasets, the quality of a recording."""
