"""Parts of the experiments with the real programs that they ask."""
