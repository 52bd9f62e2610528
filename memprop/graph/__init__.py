"""What is computed: graphs of variables and operators, as pure data.

Importing the package registers every operator that memprop has.
"""

from memprop.graph import operators

__all__ = ["operators"]
