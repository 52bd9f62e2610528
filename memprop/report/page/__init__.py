"""Pages that a person explores: one file, opened from disk, no server and no network.

The figures of a sweep are the SVG that matplotlib wrote, with the values of their points. The
explorer of a step is our own: Python puts its numbers into the page as JSON, the scripts and styles
next to this file draw them. A chart library would add 4.8 MB to every page, has no such explorer,
and needs rules of security that are looser than the ones these pages carry.
"""
