"""What CUDA's kernels take for themselves while they run, one family of operators a file."""
