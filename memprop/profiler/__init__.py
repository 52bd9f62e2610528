"""Any NumPy code: phases with names, allocation sites from tracemalloc, arrays that are watched.

==============  ====================================================================================
file            what it knows
==============  ====================================================================================
profiler.py     :class:`Profiler`, what users type
phases.py       which phases are open, and what was seen whenever one began or ended
tracing.py      tracemalloc: NumPy's buffers that live now, by allocation site
tables.py       the tables of level one: phases, sites, cached
sampled.py      a Trace made of what tracemalloc saw, where nothing was watched
loop.py         the steps of a loop, cut from either kind of trace
watching.py     what may be watched, and the names of arrays inside dicts and lists
watched.py      the array that tells what is done with it
calls.py        one call: its operands made plain, its results watched again
effects.py      what a NumPy function writes, what it only looks at, its operations
buffers.py      the buffers that are alive, each known by the array that owns it
ledger.py       the values in them; every read, allocation and death as an event
foreign.py      frameworks with memory of their own, and whether they were at work
sites.py        file and line of the user's own code
html.py         the display in a notebook; notebook.py: the magic ``%%memprop``
==============  ====================================================================================
"""
