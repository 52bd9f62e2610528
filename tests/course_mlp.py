"""A two-layer network as courses write it: plain NumPy."""

import numpy as np


class TwoLayerNet:
    def __init__(self, inputs, hidden, outputs, seed=0):
        rng = np.random.default_rng(seed)
        self.params = {
            "W1": 0.1 * rng.standard_normal((inputs, hidden)),
            "b1": np.zeros(hidden),
            "W2": 0.1 * rng.standard_normal((hidden, outputs)),
            "b2": np.zeros(outputs),
        }

    def forward(self, x):
        p = self.params
        z = x @ p["W1"] + p["b1"]
        h = np.maximum(z, 0)
        scores = h @ p["W2"] + p["b2"]
        return scores, (x, z, h)

    def loss(self, scores, y):
        shifted = scores - scores.max(axis=1, keepdims=True)
        probs = np.exp(shifted)
        probs /= probs.sum(axis=1, keepdims=True)
        return -np.log(probs[np.arange(len(y)), y]).mean(), probs

    def backward(self, cache, probs, y):
        x, z, h = cache
        dscores = probs.copy()
        dscores[np.arange(len(y)), y] -= 1
        dscores /= len(y)
        dh = dscores @ self.params["W2"].T
        dz = dh * (z > 0)
        return {
            "W1": x.T @ dz,
            "b1": dz.sum(axis=0),
            "W2": h.T @ dscores,
            "b2": dscores.sum(axis=0),
        }
