"""Forward pass and gradient of any network for many weight vectors at once.

Everything carries a leading axis S (one entry per start): results of a layer have shape (S, N, *shape), or
(1, N, *shape) while they do not depend on a weight. Derivatives are those of the true activations, except where these
are zero almost everywhere: `sign` and `step` become tanh(sharpness * z) and its shift when a `sharpness` is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from nnspec.problem.network import Activation, Layer, Network

Values = Mapping[str, np.ndarray]  # parameter name -> (S, *shape), or (1, *shape) for a fixed tensor
Gradients = dict[str, np.ndarray]


def activation(a: Activation, z: np.ndarray, sharpness: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """sigma(z) and sigma'(z), elementwise (softmax has no elementwise derivative and is handled by the caller)."""
    match a.kind:
        case "linear":
            return z, np.ones_like(z)
        case "relu":
            on = z > 0
            return z * on, on.astype(float)
        case "leaky_relu":
            slope = np.where(z >= 0, 1.0, a.alpha)
            return z * slope, slope
        case "abs":
            slope = np.where(z >= 0, 1.0, -1.0)
            return z * slope, slope
        case "hardtanh":
            return np.clip(z, -1.0, 1.0), (np.abs(z) < 1).astype(float)
        case "sign" | "step":
            half = a.kind == "step"
            if sharpness is None:
                on = np.where(z >= 0, 1.0, 0.0 if half else -1.0)
                return on, np.zeros_like(z)
            t = np.tanh(sharpness * z)
            d = sharpness * (1 - t * t)
            return (0.5 * (t + 1), 0.5 * d) if half else (t, d)
        case "tanh":
            t = np.tanh(z)
            return t, 1 - t * t
        case "sigmoid":
            s = 0.5 * (1.0 + np.tanh(0.5 * z))
            return s, s * (1 - s)
        case "softplus":
            return np.logaddexp(0.0, z), 0.5 * (1.0 + np.tanh(0.5 * z))
        case "gelu":
            from scipy.special import erf

            phi = 0.5 * (1.0 + erf(z / math.sqrt(2.0)))
            return z * phi, phi + z * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        case "silu":
            s = 0.5 * (1.0 + np.tanh(0.5 * z))
            return z * s, s + z * s * (1 - s)
    raise ValueError(f"unknown activation {a.kind}")


def _dense(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x (1 or S, N, n) times w (1 or S, m, n) transposed: (S, N, m)."""
    if x.shape[0] == 1:
        s, m, n = w.shape
        return (x[0] @ w.reshape(s * m, n).T).reshape(x.shape[1], s, m).transpose(1, 0, 2)
    if w.shape[1] == 1:
        return (x * w).sum(axis=2, keepdims=True)
    return np.matmul(x, w.transpose(0, 2, 1))


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(*x.shape[:2], -1)


def _windows(layer: Layer, x: np.ndarray, fill: float) -> np.ndarray:
    """All windows: (S, N, C, rows, columns, kernel rows, kernel columns)."""
    (kr, kc), (sr, sc) = layer.attributes["kernel"], layer.attributes["stride"]
    pr, pc = layer.attributes.get("padding", (0, 0))
    dr, dc = layer.attributes.get("dilation", (1, 1))
    x = np.pad(x, ((0, 0), (0, 0), (0, 0), (pr, pr), (pc, pc)), constant_values=fill)
    w = np.lib.stride_tricks.sliding_window_view(x, (dr * (kr - 1) + 1, dc * (kc - 1) + 1), axis=(3, 4))
    return w[:, :, :, ::sr, ::sc, ::dr, ::dc]


def _scatter(layer: Layer, shape: tuple[int, ...], g: np.ndarray) -> np.ndarray:
    """The transpose of `_windows`: adds gradients of windows back to an input of (S, N, C, rows, columns)."""
    (sr, sc), (pr, pc) = layer.attributes["stride"], layer.attributes.get("padding", (0, 0))
    dr, dc = layer.attributes.get("dilation", (1, 1))
    s, n, c = g.shape[0], shape[1], shape[2]
    padded = np.zeros((s, n, c, shape[3] + 2 * pr, shape[4] + 2 * pc))
    rows, columns = g.shape[3], g.shape[4]
    for i in range(g.shape[5]):
        for j in range(g.shape[6]):
            padded[:, :, :, i * dr : i * dr + sr * rows : sr, j * dc : j * dc + sc * columns : sc] += g[..., i, j]
    return padded[:, :, :, pr : pr + shape[3], pc : pc + shape[4]]


def _apply(layer: Layer, inputs: list[np.ndarray], values: Values) -> np.ndarray:
    x = inputs[0]
    match layer.kind:
        case "dense":
            assert layer.weights is not None
            z = _dense(_flat(x), values[layer.weights.name])
            return z if layer.bias is None else z + values[layer.bias.name][:, None, :]
        case "conv":
            assert layer.weights is not None
            w = values[layer.weights.name]
            groups = int(layer.attributes.get("groups", 1))
            windows = _windows(layer, x, 0.0)
            s, n, c, r, q = windows.shape[:5]
            windows = windows.reshape(s, n, groups, c // groups, r, q, *windows.shape[5:])
            w = w.reshape(w.shape[0], groups, -1, *w.shape[2:])
            both = max(s, w.shape[0])
            windows = np.broadcast_to(windows, (both, *windows.shape[1:]))
            w = np.broadcast_to(w, (both, *w.shape[1:]))
            z = np.einsum("sngcrqab,sgfcab->sngfrq", windows, w, optimize=True)
            z = z.reshape(z.shape[0], n, -1, r, q)
            return z if layer.bias is None else z + values[layer.bias.name][:, None, :, None, None]
        case "batchnorm":
            assert layer.weights is not None
            assert layer.bias is not None
            w, b = values[layer.weights.name], values[layer.bias.name]
            tail = (1,) * (x.ndim - 3)
            return x * w.reshape(w.shape[0], 1, -1, *tail) + b.reshape(b.shape[0], 1, -1, *tail)
        case "avgpool":
            return _windows(layer, x, 0.0).mean(axis=(5, 6))
        case "maxpool":
            return _windows(layer, x, -np.inf).max(axis=(5, 6))
        case "flatten":
            return _flat(x)
        case "activation":
            return x
        case "add":
            total = inputs[0]
            for part in inputs[1:]:
                total = total + part
            return total
        case "concat":
            s = max(part.shape[0] for part in inputs)
            return np.concatenate([np.broadcast_to(p, (s, *p.shape[1:])) for p in inputs], axis=2)
    raise ValueError(f"unknown layer kind {layer.kind}")


def _pull(layer: Layer, inputs: list[np.ndarray], values: Values, g: np.ndarray, grads: Gradients) -> list[np.ndarray]:
    """Gradients with respect to a layer's inputs; those of its parameters are added to `grads`."""
    x = inputs[0]

    def add(name: str, amount: np.ndarray) -> None:
        if name in grads:
            grads[name] += amount

    match layer.kind:
        case "dense":
            assert layer.weights is not None
            flat, w = _flat(x), values[layer.weights.name]
            if layer.bias is not None:
                add(layer.bias.name, g.sum(axis=1))
            if layer.weights.name in grads:
                if flat.shape[0] == 1:
                    s, n, m = g.shape
                    dw = (flat[0].T @ g.transpose(1, 0, 2).reshape(n, s * m)).reshape(-1, s, m).transpose(1, 2, 0)
                else:
                    dw = np.matmul(g.transpose(0, 2, 1), flat)
                add(layer.weights.name, dw)
            return [(g * w if w.shape[1] == 1 else np.matmul(g, w)).reshape(g.shape[0], *x.shape[1:])]
        case "conv":
            assert layer.weights is not None
            groups = int(layer.attributes.get("groups", 1))
            if layer.bias is not None:
                add(layer.bias.name, g.sum(axis=(1, 3, 4)))
            windows = _windows(layer, x, 0.0)
            n, c, r, q = windows.shape[1:5]
            windows = windows.reshape(windows.shape[0], n, groups, c // groups, r, q, *windows.shape[5:])
            gg = g.reshape(g.shape[0], n, groups, -1, r, q)
            w = values[layer.weights.name]
            if layer.weights.name in grads:
                wide = np.broadcast_to(windows, (g.shape[0], *windows.shape[1:]))
                dw = np.einsum("sngfrq,sngcrqab->sgfcab", gg, wide, optimize=True)
                add(layer.weights.name, dw.reshape(g.shape[0], *w.shape[1:]))
            w = np.broadcast_to(w, (g.shape[0], *w.shape[1:])).reshape(g.shape[0], groups, -1, *w.shape[2:])
            dx = np.einsum("sngfrq,sgfcab->sngcrqab", gg, w, optimize=True)
            return [_scatter(layer, x.shape, dx.reshape(g.shape[0], n, c, r, q, *dx.shape[-2:]))]
        case "batchnorm":
            assert layer.weights is not None
            assert layer.bias is not None
            w = values[layer.weights.name]
            axes = (1, *range(3, x.ndim))
            add(layer.weights.name, (g * x).sum(axis=axes))
            add(layer.bias.name, g.sum(axis=axes))
            return [g * w.reshape(w.shape[0], 1, -1, *((1,) * (x.ndim - 3)))]
        case "avgpool":
            kr, kc = layer.attributes["kernel"]
            spread = np.broadcast_to((g / (kr * kc))[..., None, None], (*g.shape, kr, kc))
            return [_scatter(layer, x.shape, spread)]
        case "maxpool":
            windows = _windows(layer, x, -np.inf)
            flat = windows.reshape(*windows.shape[:5], -1)
            first = np.arange(flat.shape[-1]) == flat.argmax(axis=-1)[..., None]
            return [_scatter(layer, x.shape, (first * g[..., None]).reshape(g.shape[0], *windows.shape[1:]))]
        case "flatten" | "activation":
            return [g.reshape(g.shape[0], *x.shape[1:])]
        case "add":
            return [g for _ in inputs]
        case "concat":
            ends = np.cumsum([part.shape[2] for part in inputs])[:-1]
            return list(np.split(g, ends, axis=2))
    raise ValueError(f"unknown layer kind {layer.kind}")


Pullback = Callable[[np.ndarray, Gradients], np.ndarray]


Pieces = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Layer name -> slopes and offsets, arrays (N, *shape): the linear piece that each unit uses for each sample."""


def run(network: Network, values: Values, x: np.ndarray, *, before_softmax: bool = False,
        sharpness: float | None = None, pieces: Pieces | None = None) -> tuple[np.ndarray, Pullback]:  # fmt: skip
    """Outputs (S, N, m) on inputs x (1 or S, N, d) in scaled units, and the pullback.

    Layers named in `pieces` use the given linear pieces in place of their activation.

    The pullback takes the gradient with respect to the outputs, adds that of each parameter to `grads` (a dictionary
    that holds an array (S, *shape) for every parameter whose gradient is wanted) and returns that of the inputs.
    """
    results: dict[str, np.ndarray] = {}
    slopes: dict[str, np.ndarray | None] = {}
    start = 0
    for layer in network.layers:
        if layer.kind == "input":
            part = x[:, :, start : start + layer.size]
            results[layer.name] = part.reshape(*x.shape[:2], *layer.shape)
            start += layer.size
            continue
        z = _apply(layer, [results[i] for i in layer.inputs], values)
        if layer.activation.kind == "softmax":
            e = np.exp(z - z.max(axis=2, keepdims=True))
            raw = before_softmax and layer.name in network.outputs
            results[layer.name] = z if raw else e / e.sum(axis=2, keepdims=True)
            slopes[layer.name] = None
        elif pieces is not None and layer.name in pieces:
            slope, offset = pieces[layer.name]
            results[layer.name], slopes[layer.name] = slope * z + offset, slope
        else:
            results[layer.name], slopes[layer.name] = activation(layer.activation, z, sharpness)
    parts = [_flat(results[name]) for name in network.outputs]
    s = max(p.shape[0] for p in parts)
    outputs = parts[0] if len(parts) == 1 else np.concatenate([np.broadcast_to(p, (s, *p.shape[1:])) for p in parts], 2)

    def pullback(g: np.ndarray, grads: Gradients) -> np.ndarray:
        pending: dict[str, np.ndarray] = {}
        column = 0
        for name in network.outputs:
            width = network[name].size
            pending[name] = g[:, :, column : column + width].reshape(g.shape[0], x.shape[1], *results[name].shape[2:])
            column += width
        for layer in reversed(network.layers):
            if layer.kind == "input" or layer.name not in pending:
                continue  # results that nothing reads have no gradient
            up = pending.pop(layer.name)
            slope = slopes[layer.name]
            if slope is not None:
                up = up if layer.activation.kind == "linear" else up * slope
            elif not (before_softmax and layer.name in network.outputs):
                p = results[layer.name]
                up = p * (up - (up * p).sum(axis=2, keepdims=True))
            below = _pull(layer, [results[i] for i in layer.inputs], values, up, grads)
            for name, part in zip(layer.inputs, below):
                pending[name] = pending[name] + part if name in pending else part
        none = np.zeros((g.shape[0], x.shape[1], 1))
        return np.concatenate([_flat(pending[i.name]) if i.name in pending else np.repeat(none, i.size, axis=2)
                               for i in network.inputs], axis=2)  # fmt: skip

    return outputs, pullback
