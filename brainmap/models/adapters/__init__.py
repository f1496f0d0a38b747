"""One adapter for each family of code: where a model keeps its layers, tokens and heads."""
