"""Whether training steps fit into a budget, the largest batch that does, and what would help."""
