"""Many trials from one specification: each alone in a fresh process, each result stored at once."""
