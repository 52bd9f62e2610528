"""An LSTM with backpropagation through time as courses write it."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step_forward(x, h, c, Wx, Wh, b):
    a = x @ Wx + h @ Wh + b
    i, f, o, g = np.split(a, 4, axis=1)
    i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
    c_next = f * c + i * g
    tanh_c = np.tanh(c_next)
    return o * tanh_c, c_next, (x, h, c, i, f, o, g, tanh_c, Wx, Wh)


def step_backward(dh, dc, cache):
    x, h, c, i, f, o, g, tanh_c, Wx, Wh = cache
    dc = dc + dh * o * (1 - tanh_c**2)
    da = np.hstack(
        [
            dc * g * i * (1 - i),
            dc * c * f * (1 - f),
            dh * tanh_c * o * (1 - o),
            dc * i * (1 - g**2),
        ]
    )
    return da @ Wx.T, da @ Wh.T, dc * f, x.T @ da, h.T @ da, da.sum(axis=0)


def forward(x, h0, Wx, Wh, b):
    h, c = h0, np.zeros_like(h0)
    hs, caches = [], []
    for t in range(x.shape[1]):
        h, c, cache = step_forward(x[:, t], h, c, Wx, Wh, b)
        hs.append(h)
        caches.append(cache)
    return np.stack(hs, axis=1), caches


def backward(dhs, caches):
    dx = np.empty((len(dhs), len(caches), caches[0][0].shape[1]))
    dh = dc = np.zeros_like(dhs[:, 0])
    dWx = dWh = db = 0
    for t in reversed(range(len(caches))):
        dx[:, t], dh, dc, dWx_t, dWh_t, db_t = step_backward(dhs[:, t] + dh, dc, caches[t])
        dWx, dWh, db = dWx + dWx_t, dWh + dWh_t, db + db_t
    return dx, dh, dWx, dWh, db
