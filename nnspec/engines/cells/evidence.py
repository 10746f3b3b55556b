"""Writes the proof of a solved problem as a file that `verify` re-checks without the engine.

Losses are squared or piecewise linear.

The engine's run gives the order of the samples and the values proven for its nested subsets; the trees are built again
here, in plain Python on the original data, with a certificate at every node that is closed. Meant for small problems: a
node costs about a millisecond.
"""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import numpy as np

from nnspec.engines.cells.model import LINEAR, SQUARED, CellProblem
from nnspec.engines.cells.multipliers import multipliers
from nnspec.engines.cells.normal import Normal
from nnspec.engines.cells.quadratic import SOLVED, absorb, constrained
from nnspec.engines.cells.verify import VERSION, digest

SLACK = 1e-7
"""Relative amount by which the written claims stay below the engine's, so that exact re-checking has room."""


class TooLarge(Exception):
    """The proof has more nodes than asked for."""


class Writer:
    """Builds the statements for the nested subsets order[-m:] with m in `sizes` and their proven `values`."""

    def __init__(self, cells: CellProblem, normal: Normal, reach: float, node_limit: int):
        if cells.kind not in (*SQUARED, *LINEAR):
            raise ValueError(f"evidence files are not written for {cells.kind}")
        self.cells, self.normal, self.reach, self.node_limit = cells, normal, reach, node_limit
        self.neurons = cells.neurons
        biased = normal.box.shape[3] == cells.lo.shape[1]
        self.x = np.hstack([cells.x, np.ones((len(cells.x), 1))]) if biased else cells.x
        self.columns = self.x.shape[1]
        alpha = {"relu": 0.0, "abs": -1.0}.get(cells.activation.kind, cells.activation.alpha)
        self.slopes = (float(alpha), 1.0)
        self.size = self.neurons * self.columns + 1
        scale = np.append(np.tile(np.maximum(np.abs(self.x).max(axis=0), 1e-12), self.neurons), 1.0)
        self.scale = scale
        self.has_bias = cells.output.bias is not None
        self.nodes = 0
        self.boxes = self._boxes()
        self.kind = "squared" if cells.kind in SQUARED else "largest" if cells.kind == "max_error" else "linear"
        # samples as residuals y_i - factor_i * output_i with slopes lo, hi
        hinge, q = cells.kind == "hinge", cells.quantile if cells.kind == "pinball" else None
        self.factor = cells.y if hinge else np.ones(len(cells.y))
        self.y = np.full(len(cells.y), cells.margin) if hinge else cells.y
        self.lo = np.zeros(len(cells.y)) if hinge else cells.weights * (-1.0 if q is None else q - 1.0)
        self.hi = cells.weights * (1.0 if q is None else q)

    def _boxes(self) -> list:  # type: ignore[type-arg]
        cells, result = self.cells, []
        with np.errstate(invalid="ignore"):
            for k in range(self.neurons):
                sides = []
                for low, high in ((cells.out_hi[k] * cells.lo[k], cells.out_hi[k] * cells.hi[k]),
                                  (cells.out_lo[k] * cells.hi[k], cells.out_lo[k] * cells.lo[k])):  # fmt: skip
                    pairs = []
                    for a, b in zip(low[: self.columns], high[: self.columns], strict=True):
                        a, b = (0.0 if np.isnan(v) else float(v) for v in (a, b))
                        pairs.append([None if np.isinf(a) else a, None if np.isinf(b) else b])
                    sides.append(pairs)
                result.append(sides)
        return result

    def rows(self, samples: list[int], pattern: list[tuple[int, ...]], signs: int) -> tuple[list, list, list]:  # type: ignore[type-arg]
        rows, rhs, names = [], [], []
        for k in range(self.neurons):
            negative = (signs >> k) & 1
            for t, choice in enumerate(pattern):
                row = np.zeros(self.size)
                row[k * self.columns : (k + 1) * self.columns] = self.x[samples[t]] * (
                    (1 if choice[k] else -1) * (-1 if negative else 1)
                )
                rows.append(row)
                rhs.append(0.0)
                names.append((k, "p", t))
            for j, (low, high) in enumerate(self.boxes[k][negative]):
                for kind, bound, s in (("l", low, 1.0), ("h", high, -1.0)):
                    if bound is not None:
                        row = np.zeros(self.size)
                        row[k * self.columns + j] = s
                        rows.append(row)
                        rhs.append(s * bound)
                        names.append((k, kind, j))
        if self.has_bias:
            for kind, bound, s in (("l", self.cells.c_lo, 1.0), ("h", self.cells.c_hi, -1.0)):
                if np.isfinite(bound):
                    row = np.zeros(self.size)
                    row[-1] = s
                    rows.append(row)
                    rhs.append(s * bound)
                    names.append((-1, kind, 0))
        return rows, rhs, names

    def matrix(self, samples: list[int], pattern: list[tuple[int, ...]]) -> np.ndarray:
        a = np.zeros((len(pattern), self.size))
        for t, choice in enumerate(pattern):
            for k in range(self.neurons):
                a[t, k * self.columns : (k + 1) * self.columns] = self.slopes[choice[k]] * self.x[samples[t]]
            a[t, -1] = 1.0 if self.has_bias else 0.0
            a[t] *= self.factor[samples[t]]
        return a

    def piecewise(self, samples: list[int], pattern: list[tuple[int, ...]], signs: int | None
                  ) -> tuple[float, list]:  # type: ignore[type-arg] # fmt: skip
        """(bound, [signs, u, mu]) for a piecewise-linear loss."""
        index = samples[: len(pattern)]
        a, y = self.matrix(samples, pattern), self.y[index]
        rows, rhs, names = self.rows(samples, pattern, signs) if signs is not None else ([], [], [])
        g = (np.array(rows) if rows else np.zeros((0, self.size))) / self.scale
        norm = np.maximum(np.linalg.norm(g, axis=1), 1e-300)
        g, h = g / norm[:, None], np.array(rhs) / norm
        found = multipliers(a / self.scale, y, self.lo[index], self.hi[index], self.kind == "largest", g, h)
        if found is None:
            return -np.inf, []
        u, mu = found
        left = ((a / self.scale).T @ u + g.T @ mu) * self.scale
        value = float(y @ u + h @ mu) - 1.01 * self.reach * float(np.abs(left).sum())
        value -= 1e-13 * float(np.abs(y * u).sum() + np.abs(h * mu).sum())
        named = [[*names[i], float(mu[i] / norm[i])] for i in np.flatnonzero(mu > 0)]
        return value, [signs, [float(v) for v in u], named]

    def certificate(self, samples: list[int], pattern: list[tuple[int, ...]], signs: int | None
                    ) -> tuple[float, list]:  # type: ignore[type-arg] # fmt: skip
        """(bound, [signs, u, mu]) from the constrained least-squares solution, or from the linear program."""
        if self.kind != "squared":
            return self.piecewise(samples, pattern, signs)
        index = samples[: len(pattern)]
        a, y, w = self.matrix(samples, pattern), self.cells.y[index], self.cells.weights[index]
        root = np.sqrt(w)
        scaled, target = (a / self.scale) * root[:, None], y * root
        active, names_active, rhs_active = np.zeros((0, self.size)), [], np.zeros(0)
        if signs is not None:
            rows, rhs, names = self.rows(samples, pattern, signs)
            g = np.array(rows) / self.scale
            norm = np.linalg.norm(g, axis=1)
            g, h = g / norm[:, None], np.array(rhs) / norm
            lower, q = 1e-7 * np.eye(self.size), np.zeros(self.size)
            rss = 0.0
            for t in range(len(pattern)):
                rss += absorb(lower, q, scaled[t].copy(), float(target[t])) ** 2
            theta, multipliers = np.zeros(self.size), np.zeros(self.size + 1)
            chosen = np.zeros(self.size + 1, dtype=np.int64)
            status, _, count = constrained(lower, q, rss, g, h, len(rows), np.inf, theta, 1000, multipliers, chosen)
            if status != SOLVED:
                return -np.inf, []
            active = g[chosen[:count]]
            rhs_active = h[chosen[:count]]
            names_active = [(names[i], norm[i]) for i in chosen[:count]]
        # the equality-constrained problem once more, to full accuracy: null space, then multipliers
        if len(active):
            _, s, vt = np.linalg.svd(active)
            rank = int(np.sum(s > 1e-12))
            null = vt[rank:].T
            base = np.linalg.lstsq(active, rhs_active, rcond=None)[0]
        else:
            null, base = np.eye(self.size), np.zeros(self.size)
        inner = np.linalg.lstsq(scaled @ null, target - scaled @ base, rcond=1e-13)[0] if null.size else np.zeros(0)
        theta = base + null @ inner
        residual = target - scaled @ theta
        mu: list[list[object]] = []
        gradient = -2.0 * (scaled.T @ residual)
        if len(active):
            m = np.maximum(np.linalg.lstsq(active.T, gradient, rcond=None)[0], 0.0)
            gradient = gradient - active.T @ m
            mu = [[*name, float(v / size)] for (name, size), v in zip(names_active, m, strict=True) if v > 0]
        u = residual / root
        value = float(np.sum(residual * (2 * target - residual)))
        value += sum(float(v) * float(h) for v, h in zip(m, rhs_active, strict=True)) if len(active) else 0.0
        value -= float(np.abs(gradient * self.scale).sum()) * self.reach * 1.01 + 1e-13 * float(np.sum(target**2))
        return value, [signs, [float(v) for v in u], mu]

    def empty(self, samples: list[int], pattern: list[tuple[int, ...]], k: int) -> list[int] | None:
        """A few samples whose signs contradict each other for neuron k, if there are any (kept per pattern)."""
        from scipy.optimize import linprog

        from nnspec.engines.cells.verify import _fractions, _nonnegative_dependence

        index = samples[: len(pattern)]
        s = np.array([1.0 if c[k] else -1.0 for c in pattern])
        z = s[:, None] * self.x[index] / np.maximum(np.abs(self.x).max(axis=0), 1e-12)
        # the newest sample takes part, or the parent would have been empty already
        result = linprog(np.zeros(len(s)), A_eq=np.vstack([z.T, np.ones(len(s))]),
                         b_eq=np.append(np.zeros(self.columns), 1.0), method="highs-ds")  # fmt: skip
        if result.status != 0:
            return None
        support = [int(i) for i in np.flatnonzero(result.x > 1e-9)]
        rows = [[v if pattern[i][k] else -v for v in _fractions([float(v) for v in self.x[samples[i]]])]
                for i in support]  # fmt: skip
        return support if rows and _nonnegative_dependence(rows) else None

    def tree(self, samples: list[int], value: float, rests: list[float]) -> list:  # type: ignore[type-arg]
        """The proof in preorder. rests[t]: proven for the samples after the first t."""
        out: list = []  # type: ignore[type-arg]
        cache: dict[tuple[int, ...], list[int] | None] = {}
        same = all(b == self.boxes[0] for b in self.boxes)
        flip = self.slopes[0] == -1.0 and all(
            (low is None and high is None) or (low is not None and high is not None and low == -high)
            for neuron in self.boxes for side in neuron for low, high in side
        )  # fmt: skip

        def visit(pattern: list[tuple[int, ...]], alive: list[int]) -> None:
            self.nodes += 1
            if self.nodes > self.node_limit:
                raise TooLarge(f"the proof has more than {self.node_limit} nodes")
            t = len(pattern)
            for k in range(self.neurons):
                key = tuple(c[k] for c in pattern)
                if key not in cache:
                    cache[key] = self.empty(samples, pattern, k) if t > 1 else None
                support = cache[key]
                if support is not None:
                    out.append(["e", k, support])
                    return
            need = value if self.kind == "largest" else value - rests[t]
            bound, one = self.certificate(samples, pattern, None) if t else (0.0, [])
            if bound >= need and t:
                out.append(["b", [one]])
                return
            certificates, left = [], []
            if t >= self.columns:
                for signs in range(2**self.neurons):
                    bound, one = self.certificate(samples, pattern, signs)
                    if bound >= need:
                        certificates.append(one)
                    else:
                        left.append(signs)
                if not left:
                    out.append(["b", certificates])
                    return
            if t == len(samples):
                raise ValueError("a leaf does not reach the claimed bound")
            out.append(["i"])
            for choice in itertools.product((0, 1), repeat=self.neurons):
                if flip and not pattern and 0 in choice:
                    continue
                if same and any(all(p[k] == p[k - 1] for p in pattern) and choice[k] > choice[k - 1]
                                for k in range(1, self.neurons)):  # fmt: skip
                    continue
                visit([*pattern, choice], left or alive)

        visit([], [])
        return out


def write_evidence(path: str | Path, cells: CellProblem, normal: Normal, order: list[int],
                   proofs: list[tuple[int, float]], network: tuple[np.ndarray, np.ndarray, float], objective: float,
                   reach: float, node_limit: int = 200_000) -> float:  # fmt: skip
    """Write the file and return the bound it proves.

    `proofs`: (m, normalised value) for the last m samples of `order`, smallest first. `network`: hidden (H, d + 1),
    output weights (H,), output bias.
    """
    writer = Writer(cells, normal, reach, node_limit)
    statements: list[dict] = []  # type: ignore[type-arg]
    proven: list[tuple[int, float]] = [(0, 0.0)]  # number of raw samples, value
    best = 0.0
    for m, value in proofs:
        merged = [int(i) for i in order[len(order) - m :]]
        samples = [int(i) for g in merged for i in normal.groups[g]]
        claim = normal.unit_loss_raw(merged, value)
        claim -= SLACK * abs(claim) + 1e-12
        if claim <= best:
            continue
        rests = [max(v for n, v in proven if n <= len(samples) - t) for t in range(len(samples) + 1)]
        statements.append({"samples": samples, "value": claim, "tree": writer.tree(samples, claim, rests)})
        proven.append((len(samples), claim))
        best = max(best, claim)
    hidden, v, c = network
    bound = float(np.nextafter(cells.offset + cells.scale * best, -np.inf))
    content = {
        "version": VERSION,
        "problem": {
            "kind": writer.kind, "slopes": list(writer.slopes), "x": writer.x.tolist(), "y": writer.y.tolist(),
            "factor": writer.factor.tolist(), "weights": cells.weights.tolist(), "lo": writer.lo.tolist(),
            "hi": writer.hi.tolist(), "neurons": cells.neurons, "output_bias": writer.has_bias, "box": writer.boxes,
            "c_box": [None if np.isinf(b) else float(b) for b in (cells.c_lo, cells.c_hi)],
        },
        "reach": reach, "scale": cells.scale, "offset": cells.offset, "statements": statements,
        "network": {"hidden": hidden[:, : writer.columns].tolist(), "v": v.tolist(), "c": float(c)},
        "objective": objective, "bound": bound,
    }  # fmt: skip
    content["sha256"] = digest(content)
    Path(path).write_bytes(gzip.compress(json.dumps(content, separators=(",", ":")).encode(), mtime=0))
    return bound
