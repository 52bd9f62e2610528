"""``python -m memprop`` is ``memprop``."""

from memprop.cli import main

main()
