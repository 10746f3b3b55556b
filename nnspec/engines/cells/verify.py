"""Checks an evidence file of the cells engine in exact rational arithmetic; nothing is shared with the engine.

The file (gzip JSON, its SHA-256 inside) holds the training problem, a network, and proofs of statements
"on the samples S every network has a loss of at least L". Each proof is a tree in preorder over the samples of S in
order: at depth t every neuron has a piece for the first t samples. A node is one of

* internal: one child per joint choice of pieces for the next sample, in lexicographic order of the choices, leaving out
  those that exchange two neurons with equal patterns so far in the wrong order (interchangeable neurons), and for
  abs with symmetric boxes those that do not begin with z >= 0 (abs(z) = abs(-z));
* empty: neuron k's pattern is cut off because of a nonnegative, nonzero combination of s_i (x_i, 1) that is zero, found
  here by elimination on the few samples named. No (w, b) has z of exactly these strict signs. Where a pattern occurs
  only with some z = 0, its networks lie in the closure of other cells, since the activation is continuous;
* bound: certificates (signs, u, mu) that cover all signs of the output weights. For every theta that fits pattern and
  boxes, g_j.theta >= h_j and mu >= 0, and
      squared:  sum w_i r_i^2         >= sum w_i (2 u_i r_i - u_i^2)
      linear:   sum max(lo r_i, hi r_i) >= sum u_i r_i          for lo <= u <= hi
      largest:  max |r_i|             >= sum u_i r_i            for sum |u_i| <= 1
  so the loss is at least  value(u) + mu.h - |rest|_1 reach,  where rest collects what does not cancel in theta and
  |theta_j| <= reach. With an earlier statement about some of the samples that are left, it must reach L.

`reach` is part of the claim where the boxes do not imply it, and is reported.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

VERSION = 1


class EvidenceError(Exception):
    """The file does not prove what it claims."""


@dataclass(frozen=True)
class Report:
    """What was proven: no network (of weights within `reach`) has an objective below `bound`; one has `objective`."""

    objective: float
    bound: float
    statements: int
    nodes: int
    certificates: int
    reach: float
    digest: str


def digest(content: dict) -> str:  # type: ignore[type-arg]
    """SHA-256 of the content without its own digest."""
    body = {k: v for k, v in content.items() if k != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def verify(path: str | Path) -> Report:
    """Check the file. Raises EvidenceError with the first thing that is wrong."""
    try:
        content = json.loads(gzip.decompress(Path(path).read_bytes()))
    except (OSError, EOFError, ValueError, UnicodeDecodeError) as e:
        raise EvidenceError(f"not a readable evidence file: {e}") from None
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise EvidenceError("not an evidence file of this version")
    if content.get("sha256") != digest(content):
        raise EvidenceError("the file was changed after it was written")
    try:
        return _Checker(content).run()
    except (KeyError, IndexError, TypeError, ValueError, StopIteration, ZeroDivisionError) as e:
        raise EvidenceError(f"the file is incomplete: {type(e).__name__} {e}") from None


def _fractions(values: list) -> list[Fraction]:  # type: ignore[type-arg]
    return [Fraction(v) for v in values]


class _Checker:
    def __init__(self, content: dict):  # type: ignore[type-arg]
        p = content["problem"]
        self.content = content
        self.kind: str = p["kind"]  # squared | linear | largest
        self.slopes = _fractions(p["slopes"])  # of the activation for z < 0 and z > 0
        self.x = [_fractions(row) for row in p["x"]]  # with the 1 of the bias, if there is one
        self.y = _fractions(p["y"])
        self.factor = _fractions(p["factor"])  # the row's own sign (hinge), else 1
        self.weights = _fractions(p["weights"])
        self.lo, self.hi = _fractions(p["lo"]), _fractions(p["hi"])
        self.out_bias: bool = p["output_bias"]
        self.neurons: int = p["neurons"]
        # boxes of theta_k for a positive and a negative output weight, None where there is none
        self.box = [[[[None if v is None else Fraction(v) for v in pair] for pair in side] for side in neuron]
                    for neuron in p["box"]]  # fmt: skip
        self.c_box = [None if v is None else Fraction(v) for v in p["c_box"]]
        self.reach = Fraction(content["reach"])
        self.columns = len(self.x[0])
        if self.reach <= 0 or any(w <= 0 for w in self.weights):
            raise EvidenceError("a weight or the reach is not positive")
        if any(lo > 0 or hi < 0 for lo, hi in zip(self.lo, self.hi, strict=True)):
            raise EvidenceError("the slopes of the loss have the wrong signs")
        same = all(b == self.box[0] for b in self.box)
        self.interchangeable = same
        self.flip = self.slopes[0] == -self.slopes[1] and all(
            (low is None and high is None) or (low is not None and high is not None and low == -high)
            for neuron in self.box for side in neuron for low, high in side
        )  # fmt: skip
        self.nodes = self.certificates = 0
        self.proven: list[tuple[frozenset[int], Fraction]] = [(frozenset(), Fraction(0))]

    def run(self) -> Report:
        best = Fraction(0)
        everything = frozenset(range(len(self.x)))
        for statement in self.content["statements"]:
            samples: list[int] = statement["samples"]
            if len(set(samples)) != len(samples) or not set(samples) <= everything:
                raise EvidenceError("a statement names wrong samples")
            self.value = Fraction(statement["value"])
            tree = iter(statement["tree"])
            self.walk(samples, [], tree)
            if next(tree, None) is not None:
                raise EvidenceError("a tree has nodes that belong to nothing")
            self.proven.append((frozenset(samples), self.value))
            best = max(best, self.value)  # any subset's bound is one for the whole
        scale, offset = Fraction(self.content["scale"]), Fraction(self.content["offset"])
        loss = self.loss(self.content["network"])
        bound = offset + scale * best
        objective = offset + scale * loss
        if scale <= 0:
            raise EvidenceError("the objective's scale is not positive")
        if Fraction(self.content["bound"]) > bound:
            raise EvidenceError(f"claimed bound {self.content['bound']} but only {float(bound)} is proven")
        if abs(Fraction(self.content["objective"]) - objective) > Fraction(1, 10**7) * max(Fraction(1), abs(objective)):
            raise EvidenceError(f"claimed objective {self.content['objective']}, the network has {float(objective)}")
        return Report(float(objective), float(self.content["bound"]), len(self.content["statements"]), self.nodes,
                      self.certificates, float(self.reach), self.content["sha256"])  # fmt: skip

    def loss(self, network: dict) -> Fraction:  # type: ignore[type-arg]
        """The network's loss: hidden rows (w, b), output weights v, output bias c; it must respect the boxes."""
        hidden, v, c = [_fractions(r) for r in network["hidden"]], _fractions(network["v"]), Fraction(network["c"])
        slack = Fraction(1, 10**9)
        for k in range(self.neurons):
            for j in range(self.columns):
                low, high = self.box[k][0 if v[k] >= 0 else 1][j]
                value = v[k] * hidden[k][j]
                if (low is not None and value < low - slack) or (high is not None and value > high + slack):
                    raise EvidenceError("the network leaves its box")
        total = Fraction(0)
        for i, x in enumerate(self.x):
            o = c
            for k in range(self.neurons):
                z = sum((a * b for a, b in zip(hidden[k], x, strict=True)), Fraction(0))
                o += v[k] * z * self.slopes[1 if z >= 0 else 0]
            r = self.y[i] - self.factor[i] * o
            if self.kind == "squared":
                total += self.weights[i] * r * r
            else:
                part = max(self.lo[i] * r, self.hi[i] * r)
                total = max(total, part) if self.kind == "largest" else total + part
        return total

    def choices(self, pattern: list[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
        for choice in itertools.product((0, 1), repeat=self.neurons):
            if self.flip and not pattern and 0 in choice:
                continue
            wrong = self.interchangeable and any(
                all(p[k] == p[k - 1] for p in pattern) and choice[k] > choice[k - 1] for k in range(1, self.neurons)
            )
            if not wrong:
                yield choice

    def walk(self, samples: list[int], pattern: list[tuple[int, ...]], tree: Iterator) -> None:  # type: ignore[type-arg]
        node = next(tree, None)
        if node is None:
            raise EvidenceError("a tree ends too early")
        self.nodes += 1
        kind = node[0]
        if kind == "i":
            if len(pattern) == len(samples):
                raise EvidenceError("an internal node below the last sample")
            for choice in self.choices(pattern):
                self.walk(samples, [*pattern, choice], tree)
        elif kind == "e":
            self.empty(samples, pattern, node[1], node[2])
        elif kind == "b":
            self.bounded(samples, pattern, node[1])
        else:
            raise EvidenceError(f"unknown node {kind}")

    def empty(self, samples: list[int], pattern: list[tuple[int, ...]], k: int, support: list[int]) -> None:
        if not 0 <= k < self.neurons or any(not 0 <= i < len(pattern) for i in support) or not support:
            raise EvidenceError("an empty node names wrong samples")
        rows = [[v if pattern[i][k] else -v for v in self.x[samples[i]]] for i in support]
        if not _nonnegative_dependence(rows):
            raise EvidenceError("a pattern was cut off that a neuron may have")

    def bounded(self, samples: list[int], pattern: list[tuple[int, ...]], certificates: list) -> None:  # type: ignore[type-arg]
        left = frozenset(samples[len(pattern) :])
        rest = max(value for subset, value in self.proven if subset <= left)
        if self.kind == "largest" and rest >= self.value:
            return
        need = self.value if self.kind == "largest" else self.value - rest
        covered: set[int] = set()
        for signs, u, mu in certificates:
            self.certificates += 1
            value = self.certificate(samples, pattern, signs, u, mu)
            if value < need:
                raise EvidenceError(f"a bound of {float(value)} is claimed to be {float(need)}")
            covered |= set(range(2**self.neurons)) if signs is None else {signs}
        if need > 0 and covered != set(range(2**self.neurons)):
            raise EvidenceError("a bound leaves out signs of the output weights")

    def certificate(self, samples: list[int], pattern: list[tuple[int, ...]], signs: int | None, u: list, mu: list
                    ) -> Fraction:  # type: ignore[type-arg] # fmt: skip
        """The bound that u and mu prove.

        mu: (neuron, "p", sample, v), (neuron, "l" | "h", column, v), (-1, "l" | "h", 0, v) for the output bias.
        """
        count, size = len(pattern), self.neurons * self.columns
        u = _fractions(u)
        if len(u) != count:
            raise EvidenceError("a certificate has the wrong length")
        gradient = [Fraction(0)] * (size + 1)
        value = Fraction(0)
        for t in range(count):
            i = samples[t]
            if self.kind == "squared":
                value += self.weights[i] * (2 * u[t] * self.y[i] - u[t] * u[t])
                step = 2 * self.weights[i] * u[t] * self.factor[i]
            else:
                if self.kind == "linear" and not self.lo[i] <= u[t] <= self.hi[i]:
                    raise EvidenceError("a multiplier is out of range")
                value += u[t] * self.y[i]
                step = u[t] * self.factor[i]
            if step == 0:
                continue
            for k in range(self.neurons):
                slope = self.slopes[pattern[t][k]]
                if slope:
                    for j in range(self.columns):
                        gradient[k * self.columns + j] -= step * slope * self.x[i][j]
            if self.out_bias:
                gradient[size] -= step
        if self.kind == "largest" and sum(abs(v) for v in u) > 1:
            raise EvidenceError("the multipliers of a largest error exceed 1")
        for k, kind, j, multiplier in mu:
            m = Fraction(multiplier)
            if m < 0 or (signs is None and k >= 0):
                raise EvidenceError("a multiplier is negative or belongs to no sign")
            if k < 0:
                bound = self.c_box[0 if kind == "l" else 1]
                direction = 1 if kind == "l" else -1
                gradient[size] -= direction * m
                value += direction * m * _given(bound)
                continue
            negative = (signs >> k) & 1  # type: ignore[operator]
            if kind == "p":
                direction = (1 if pattern[j][k] else -1) * (-1 if negative else 1)
                for column in range(self.columns):
                    gradient[k * self.columns + column] -= direction * m * self.x[samples[j]][column]
            else:
                bound = self.box[k][negative][j][0 if kind == "l" else 1]
                direction = 1 if kind == "l" else -1
                gradient[k * self.columns + j] -= direction * m
                value += direction * m * _given(bound)
        return value - self.reach * sum(abs(g) for g in gradient)


def _given(bound: Fraction | None) -> Fraction:
    if bound is None:
        raise EvidenceError("a certificate uses a bound that is not there")
    return bound


def _nonnegative_dependence(rows: list[list[Fraction]]) -> bool:
    """Whether the rows have a linear dependence with coefficients >= 0, by exact elimination.

    Only dependences that are unique up to scale are recognised: rank = rows - 1.
    """
    count, columns = len(rows), len(rows[0])
    work = [[rows[i][j] for i in range(count)] for j in range(columns)]  # equations over the coefficients
    pivots: list[int] = []
    r = 0
    for c in range(count):
        pivot = next((i for i in range(r, columns) if work[i][c] != 0), None)
        if pivot is None:
            continue
        work[r], work[pivot] = work[pivot], work[r]
        head = work[r][c]
        work[r] = [v / head for v in work[r]]
        for i in range(columns):
            if i != r and work[i][c] != 0:
                f = work[i][c]
                work[i] = [a - f * b for a, b in zip(work[i], work[r], strict=True)]
        pivots.append(c)
        r += 1
    free = [c for c in range(count) if c not in pivots]
    if len(free) != 1:
        return False
    return all(-work[i][free[0]] >= 0 for i in range(r))
