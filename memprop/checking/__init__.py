"""Checking that an operator computes what its rule declares; what the tests of memprop run."""
