"""Recurrent layers of cuDNN."""
