"""Blocks that are computed again: found, measured, chosen and carried out."""
