"""Samples with labels."""

from dataclasses import dataclass

import numpy as np

from memprop.checks import check_integer_from_zero
from memprop.errors import InvalidValueError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples ``x`` (samples, features) float32 and integer labels ``y`` (samples,) int64."""

    name: str
    x: np.ndarray
    y: np.ndarray

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self.x)

    @property
    def features(self) -> int:
        """Values per sample."""
        return self.x.shape[1]

    @property
    def classes(self) -> int:
        """One more than the largest label."""
        return int(self.y.max()) + 1

    def batch(self, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Exactly ``size`` samples in random order; all are used before any is used again."""
        if size < 1:
            raise InvalidValueError(f"a batch must have at least one sample, got {size}")
        generator = np.random.default_rng(check_integer_from_zero("seed", seed))
        rounds = -(-size // self.samples)
        order = np.concatenate([generator.permutation(self.samples) for _ in range(rounds)])
        return self.x[order[:size]], self.y[order[:size]]

    def split(self, test_fraction: float = 0.2, seed: int = 0) -> tuple["Dataset", "Dataset"]:
        """A training and a test part, drawn at random; at least one sample in each."""
        if not 0 < test_fraction < 1:
            raise InvalidValueError(f"test_fraction must be between 0 and 1, got {test_fraction}")
        order = np.random.default_rng(check_integer_from_zero("seed", seed)).permutation(
            self.samples
        )
        count = min(max(round(self.samples * test_fraction), 1), self.samples - 1)
        test, train = order[:count], order[count:]
        return (
            Dataset(f"{self.name}/train", self.x[train], self.y[train]),
            Dataset(f"{self.name}/test", self.x[test], self.y[test]),
        )
