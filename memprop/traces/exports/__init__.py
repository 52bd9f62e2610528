"""A trace in the formats of other tools, one format a file. All are written, none is read."""
