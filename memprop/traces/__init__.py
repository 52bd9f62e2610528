"""What happened: one type of trace, and the views of it. Knows nothing of where it came from."""
