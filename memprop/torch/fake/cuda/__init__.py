"""The ways that a step takes on CUDA, on fake tensors of the CPU."""
