"""Training steps on a GPU, recorded: every allocation, and operator by operator."""
