"""What is done, in which order: policies that turn a graph into a schedule; no arrays here."""
