"""Pages that a person explores: one file, opened from disk, no server and no network.

Python puts the numbers into the page as JSON; the scripts and styles beside this file draw them.
They are our own, drawn with SVG and canvas: a chart library would add 4.8 MB to every page, has
neither the explorer of a step nor dark and printed forms of its figures, and needs rules of
security that are looser than the ones these pages carry.
"""
