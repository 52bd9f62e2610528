"""What is measured, one file a contender: each is run as a process of its own by the contest.

A contender imports what it measures and the standard library, and no other contender's package:
only those that measure memprop import it.
"""
