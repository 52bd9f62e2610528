"""Traces and results in, tables, figures and pages out."""
