"""Fewest errors of one or two step or sign neurons on the plane: the driver of `halfplanes`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nnspec.engines.cells.halfplanes import best_pair, half_planes, maximal


@dataclass(frozen=True, eq=False)
class Region:
    """Predicted positive: the union of the half-planes (or, negated, its complement)."""

    errors: float
    negated: bool
    planes: tuple[np.ndarray, ...]  # (3,) each: w1, w2, b with |w.x + b| >= the margin found
    realised: bool
    exhausted: bool = False  # the memory did not suffice


def _bits(mask: np.ndarray) -> np.ndarray:
    words = np.zeros((len(mask) + 63) // 64, dtype=np.uint64)
    for i in np.flatnonzero(mask):
        words[i >> 6] |= np.uint64(1) << np.uint64(i & 63)
    return words


def _half_planes(x: np.ndarray, positive: np.ndarray, weights: np.ndarray, limit: float, control: np.ndarray,
                 memory: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Half-planes as bits, each once, with the weights of their false and true positives, fewest false ones first.

    Incomplete once control[0] is set. Raises MemoryError if they do not fit into `memory` bytes.
    """
    n = len(x)
    keys = np.random.RandomState(7).randint(1, 2**62, n).astype(np.uint64)
    words = (n + 63) // 64
    # sorting and selecting copies them once or twice
    room = min(4 * n * n + 64, int(memory / (3 * (8 * words + 32))))
    bits = np.empty((room, words), dtype=np.uint64)
    f, t = np.empty(room), np.empty(room)
    hf, ht = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.uint64)
    count = half_planes(x, positive, weights, keys, limit, room, f, t, hf, ht, bits, control)
    if count < 0:
        raise MemoryError
    # equal hashes of different sets (probability 2^-62 a pair) are told apart by their bits
    order = np.argsort(hf[:count] ^ (ht[:count] * np.uint64(3)), kind="stable")
    distinct = np.ones(count, dtype=bool)
    distinct[1:] = np.any(bits[order[1:]] != bits[order[:-1]], axis=1)
    chosen = order[distinct]
    chosen = chosen[np.lexsort((-t[chosen], f[chosen]))]
    return np.ascontiguousarray(bits[chosen]), f[chosen], t[chosen]


def _mask(words: np.ndarray, n: int) -> np.ndarray:
    index = np.arange(n)
    return ((words[index >> 6] >> (index & 63).astype(np.uint64)) & np.uint64(1)).astype(bool)


def separate(x: np.ndarray, inside: np.ndarray) -> np.ndarray | None:
    """(w1, w2, b) with w.x + b > 0 exactly on `inside`, of the largest margin; None if no line does it."""
    from scipy.optimize import linprog

    n, d = x.shape
    if inside.all() or not inside.any():
        return np.append(np.zeros(d), 1.0 if inside.all() else -1.0)
    s = np.where(inside, 1.0, -1.0)
    centre, size = x.mean(axis=0), float(np.abs(x - x.mean(axis=0)).max()) or 1.0
    z = (x - centre) / size
    a = np.hstack([-s[:, None] * z, -s[:, None], np.ones((n, 1))])
    result = linprog(np.append(np.zeros(d + 1), -1.0), A_ub=a, b_ub=np.zeros(n),
                     bounds=[(-1, 1)] * d + [(None, None), (None, 1)])  # fmt: skip
    if result.status != 0:
        return None
    w, b = result.x[:d] / size, result.x[d] - result.x[:d] @ centre / size
    return np.append(w, b) if np.all(s * (x @ w + b) > 0) else None


def fewest_errors(x: np.ndarray, y: np.ndarray, weights: np.ndarray, neurons: int, control: np.ndarray,
                  memory: float) -> Region:  # fmt: skip
    """The least weight of errors and a region that has it. y: -1 and +1; memory in bytes.

    `realised` is False if the search was stopped (control[0] != 0) or the memory did not suffice.
    """
    best = Region(np.inf, False, (), False)
    for negated in (False, True):
        positive = (y > 0) != negated
        total = float(weights[positive].sum())
        constant = min(total, float(weights[~positive].sum()))
        if constant < best.errors:  # nothing, or everything, is positive
            everything = float(weights[~positive].sum()) < total
            plane = np.append(np.zeros(x.shape[1]), 1.0 if everything else -1.0)
            best = Region(constant, negated, (plane,), True)
        words = _bits(positive)
        padded = np.zeros(64 * len(words))
        padded[: len(x)] = weights
        uniform = bool(np.all(weights == 1.0))
        try:
            bits, f, t = _half_planes(x, positive, weights, best.errors, control, memory)
        except MemoryError:
            return replace(best, realised=False, exhausted=True)
        for planes_used in range(1, neurons + 1):  # the best single one limits the pairs
            while True:
                if control[0] != 0:
                    return replace(best, realised=False)
                near = f < best.errors
                bits, f, t = bits[near], f[near], t[near]
                if planes_used == 1:
                    single = total - t + f
                    i = j = int(np.argmin(single)) if len(single) else -1
                    if i < 0 or single[i] >= best.errors:
                        break
                    errors = float(single[i])
                else:
                    keep = np.flatnonzero(maximal(bits, f, t, words, control))
                    errors, a, b = best_pair(bits[keep], f[keep], t[keep], total, padded, words, uniform, best.errors,
                                             control)  # fmt: skip
                    if control[0] != 0:  # none was found, perhaps because the rest was not looked at
                        return replace(best, realised=False)
                    if a < 0:
                        break
                    i, j = int(keep[a]), int(keep[b])
                planes: list[np.ndarray] = []
                struck: list[int] = []
                for k in sorted({i, j}):
                    found = separate(x, _mask(bits[k], len(x)))
                    if found is None:
                        struck.append(k)
                    else:
                        planes.append(found)
                if not struck:
                    best = Region(errors, negated, tuple(planes), True)
                bits, f, t = (np.delete(a, struck, axis=0) for a in (bits, f, t))
    return best
