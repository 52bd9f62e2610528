"""A graph as a picture: what is drawn as plain data, and the renderers that read it."""
