"""Memory budgets in tests: the plugin of pytest that comes with memprop.

It is a package beside memprop, and imports it only when a test asks for something: pytest starts as
fast as without it, and no NumPy is imported before a conftest has set what NumPy reads.
"""
