"""Doing it: one loop that runs a schedule, on arrays or on shapes alone."""
