"""What this machine can measure, how fast its matrix products are, and what to set."""
