"""A convolution by im2col as courses write it, once with index arrays, once with strides."""

import numpy as np


def im2col_indices(shape, size, padding):
    _, channels, height, width = shape
    rows = height + 2 * padding - size + 1
    columns = width + 2 * padding - size + 1
    i0 = np.tile(np.repeat(np.arange(size), size), channels)
    i1 = np.repeat(np.arange(rows), columns)
    j0 = np.tile(np.arange(size), size * channels)
    j1 = np.tile(np.arange(columns), rows)
    k = np.repeat(np.arange(channels), size * size).reshape(-1, 1)
    return k, i0.reshape(-1, 1) + i1.reshape(1, -1), j0.reshape(-1, 1) + j1.reshape(1, -1)


def forward_indices(x, w, b, padding):
    n, channels, height, _ = x.shape
    filters, _, size, _ = w.shape
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    k, i, j = im2col_indices(x.shape, size, padding)
    cols = padded[:, k, i, j].transpose(1, 2, 0).reshape(channels * size * size, -1)
    out = w.reshape(filters, -1) @ cols + b.reshape(-1, 1)
    out = out.reshape(filters, height + 2 * padding - size + 1, -1, n).transpose(3, 0, 1, 2)
    return out, (x.shape, w, cols, padding)


def backward_indices(dout, cache):
    shape, w, cols, padding = cache
    n, channels, height, width = shape
    filters, _, size, _ = w.shape
    db = dout.sum(axis=(0, 2, 3))
    d = dout.transpose(1, 2, 3, 0).reshape(filters, -1)
    dw = (d @ cols.T).reshape(w.shape)
    dcols = w.reshape(filters, -1).T @ d
    dpadded = np.zeros((n, channels, height + 2 * padding, width + 2 * padding), dtype=dout.dtype)
    k, i, j = im2col_indices(shape, size, padding)
    dcols = dcols.reshape(channels * size * size, -1, n).transpose(2, 0, 1)
    np.add.at(dpadded, (slice(None), k, i, j), dcols)
    dx = dpadded[:, :, padding:-padding, padding:-padding] if padding else dpadded
    return dx, dw, db


def forward_strides(x, w, b, padding):
    n, channels, height, width = x.shape
    filters, _, size, _ = w.shape
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    rows = height + 2 * padding - size + 1
    columns = width + 2 * padding - size + 1
    s0, s1, s2, s3 = padded.strides
    windows = np.lib.stride_tricks.as_strided(
        padded, (channels, size, size, n, rows, columns), (s1, s2, s3, s0, s2, s3)
    )
    cols = np.ascontiguousarray(windows).reshape(channels * size * size, -1)
    out = (w.reshape(filters, -1) @ cols + b.reshape(-1, 1)).reshape(filters, n, rows, columns)
    return out.transpose(1, 0, 2, 3), (x.shape, w, cols, padding)
