"""What a user writes down: models that build their own graph."""
