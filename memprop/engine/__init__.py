"""Doing it: the events of a schedule, run on arrays or counted from shapes alone."""
