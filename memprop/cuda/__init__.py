"""What CUDA does with memory, without CUDA: PyTorch's caching allocator, GPUs, kernels' scratch."""
