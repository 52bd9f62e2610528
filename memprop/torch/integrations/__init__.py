"""Where people train: callbacks for the Trainer of Hugging Face and for that of Lightning.

Each is imported by itself and needs its extra:

- :class:`memprop.torch.integrations.huggingface.MemoryCallback`, ``memprop[huggingface]``;
- :class:`memprop.torch.integrations.lightning.MemoryCallback`, ``memprop[lightning]``.
"""
