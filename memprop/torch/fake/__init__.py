"""A step without numbers: the user's own code on fake tensors."""
