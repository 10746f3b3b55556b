"""Proofs of statements "on the samples S, loss plus penalty of every network is at least L", as trees in preorder.

A node is reached by a path: samples of S, each with a piece for each neuron; signs of output weights are still open.

* ["n", sample, certificates]: the certificates close the signs they are for. The children are the joint choices of
  pieces for the sample, in lexicographic order, without those left out below.
* ["b", certificates]: they close all signs that are open.
* ["w"], for errors only: the samples given up, and an earlier statement about others, cost L.
* ["e", k, steps] or ["e", k, steps, weights]: no neuron k has such a pattern, as some of its steps and cuts show.

*All networks are covered.* Take the neuron's w and b that the support leaves free. If no sample lies on the boundary of
a piece, the network's own pieces are a path. Otherwise its (w, b) lies in the closure of a cell of the arrangement of
the boundaries, whose pieces' formulas hold at it too, since the activation is continuous. So it is enough to close
nonempty open cells (for hardtanh: of (v w, v b, v) within v > 0). A pattern may be cut off if boundaries' forms, each
with the sign of its side, have a dependence with nonnegative coefficients: they cannot all be positive then. It is
found by elimination from the few steps and cuts that are named. A form that vanishes says nothing.

step and sign jump. A neuron with some w.x_i + b = 0 has the same outputs as one with a slightly larger bias, so open
cells are enough for them as well. With strict > 0 the claim is about fewer networks: those whose neurons have
|w.x_i + b| >= strict max|(w, b)| at all samples, inputs shifted and divided by their widths as in `training`. A mean
of sides whose entries' absolute values sum to less than `strict` then excludes a pattern.

*Left out* are children that exchange equal neurons: with the same boxes, signs in every order and the same pieces so
far, the earlier neuron takes the higher piece; and for abs in boxes that are symmetric about 0, children of the root
that are below the cut, since (w, b) and (-w, -b) are the same neuron.

*Bounds.* A certificate without the penalty may be helped by an earlier statement about samples that are not on the
path: loss on the path >= bound, loss and penalty on the others >= L' (not for the largest error, which is no sum).

*Errors.* A child more, the first one, gives the sample up: it has no pieces, costs its weight, and takes no part in
patterns. The others demand that it is right. A certificate closes signs if its bound is above 0: with r <= 0 for all
samples that are to be right there is no such network.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from nnspec.engines.cells.proof.bounds import Bounds, Choice, Signs
from nnspec.engines.cells.proof.exact import EvidenceError, nonnegative_dependence, numbers

Path = list[tuple[int, Choice]]


@dataclass(eq=False)
class Prover:
    """Checks statements about networks with one support and some vectors of signs."""

    bounds: Bounds
    signs: list[Signs]
    strict: Fraction = Fraction(0)
    nodes: int = 0
    certificates: int = 0
    proven: list[tuple[frozenset[int], Fraction]] = field(default_factory=list)
    alike: list[bool] = field(init=False)  # neuron k may change places with neuron k - 1
    flip: bool = field(init=False)

    def __post_init__(self) -> None:
        problem, neurons, free = self.bounds.problem, self.bounds.neurons, self.bounds.free
        count, known = len(neurons), set(self.signs)
        self.alike = [False] * count
        for k in range(1, count):
            exchanged = [(*s[: k - 1], s[k], s[k - 1], *s[k + 1 :]) for s in self.signs]
            self.alike[k] = (problem.alike(neurons[k], neurons[k - 1]) and free[k] == free[k - 1]
                             and all(s in known for s in exchanged))  # fmt: skip
        self.flip = problem.activation == "abs" and all(problem.symmetric(k) for k in neurons)

    def check(self, samples: list[int], value: Fraction, tree: list) -> None:  # type: ignore[type-arg]
        """Check a statement; later ones may use it."""
        whole = frozenset(samples)
        if len(whole) != len(samples) or not whole <= set(range(self.bounds.problem.samples)):
            raise EvidenceError("a statement names wrong samples")
        nodes = iter(tree)
        self._walk(whole, value, [], list(range(len(self.signs))), nodes)
        if next(nodes, None) is not None:
            raise EvidenceError("a tree has nodes that belong to nothing")
        self.proven.append((whole, value))

    def rest(self, left: frozenset[int]) -> Fraction:
        """What is proven for the samples that are left, penalty included."""
        return max((v for subset, v in self.proven if subset <= left), default=Fraction(0))

    def need(self, value: Fraction, left: frozenset[int], penalised: bool) -> Fraction:
        """What a certificate has to prove."""
        return value if penalised or self.bounds.problem.kind == "max_error" else value - self.rest(left)

    def choices(self, path: Path) -> Iterator[Choice]:
        """The children's pieces, in their order."""
        right = [c for _, c in path if c is not None]
        if self.errors:
            yield None
        for choice in itertools.product(range(self.bounds.problem.pieces), repeat=len(self.bounds.neurons)):
            if self.flip and not right and 0 in choice:
                continue
            if not any(self.alike[k] and choice[k] > choice[k - 1] and all(c[k] == c[k - 1] for c in right)
                       for k in range(1, len(choice))):  # fmt: skip
                yield choice

    @property
    def errors(self) -> bool:
        return self.bounds.problem.kind == "errors"

    def cost(self, path: Path) -> Fraction:
        """The weight of the samples that are given up."""
        return sum((self.bounds.problem.weights[i] for i, c in path if c is None), Fraction(0))

    def closes(self, path: Path, signs: Signs | None, certificate: list, need: Fraction) -> bool:  # type: ignore[type-arg]
        """Whether a certificate proves what is needed."""
        found = self.bounds.value(path, signs, certificate)
        return found > 0 if self.errors else found >= need

    def _walk(self, left: frozenset[int], value: Fraction, path: Path, open_: list[int], nodes: Iterator) -> None:  # type: ignore[type-arg]
        node = next(nodes, None)
        if node is None:
            raise EvidenceError("a tree ends too early")
        self.nodes += 1
        kind = node[0]
        if kind == "e":
            self.empty(path, node[1], node[2], node[3] if len(node) > 3 else None)
            return
        if kind == "w" and self.errors:
            if self.cost(path) + self.rest(left) < value:
                raise EvidenceError("the samples given up cost less than claimed")
            return
        if kind not in ("n", "b"):
            raise EvidenceError(f"unknown node {kind!r}")
        closed: set[int] = set()
        for which, *certificate in node[-1]:
            self.certificates += 1
            if which != -1 and which not in open_:
                raise EvidenceError("a certificate is for signs that are not open")
            need = self.need(value, left, certificate[2] is not None)
            if not self.closes(path, None if which == -1 else self.signs[which], certificate, need):
                raise EvidenceError(f"a bound of {float(need)} is claimed and not proven")
            closed |= set(open_) if which == -1 else {which}
        open_ = [s for s in open_ if s not in closed]
        if kind == "b":
            if open_:
                raise EvidenceError("a bound leaves out signs of the output weights")
            return
        sample = node[1]
        if sample not in left or not open_:
            raise EvidenceError("a node goes on with a wrong sample, or without need")
        for choice in self.choices(path):
            self._walk(left - {sample}, value, [*path, (sample, choice)], open_, nodes)

    def empty(self, path: Path, k: int, steps: list[list[int]], weights: list[float] | None) -> None:
        """Check that neuron k has no such pattern."""
        cuts = self.bounds.problem.pieces - 1
        if not 0 <= k < len(self.bounds.neurons) or not steps:
            raise EvidenceError("an empty node names nothing")
        rows = []
        for t, c in steps:
            if t == -1 and self.bounds.problem.activation == "hardtanh":
                rows.append([Fraction(0)] * sum(self.bounds.free[k]) + [Fraction(1)])  # v > 0
            elif 0 <= t < len(path) and 0 <= c < cuts and (choice := path[t][1]) is not None:
                rows.append(self.side(k, path[t][0], c, choice[k]))
            else:
                raise EvidenceError("an empty node names a wrong sample")
        if weights is None:
            if not nonnegative_dependence(rows):
                raise EvidenceError("a pattern was cut off that a neuron may have")
            return
        lambdas = numbers(weights)
        if len(lambdas) != len(rows) or any(v < 0 for v in lambdas) or not any(lambdas):
            raise EvidenceError("the weights of an empty node are wrong")
        if self.thickness(rows, lambdas) >= self.strict:
            raise EvidenceError("a pattern was cut off that a neuron may have with room")

    def side(self, k: int, i: int, c: int, piece: int) -> list[Fraction]:
        """The form of cut c on sample i, in what the support leaves free, positive on the piece's side."""
        free = self.bounds.free[k]
        row = [v for j, v in enumerate(self.bounds.problem.side(c, i)) if j >= len(free) or free[j]]
        return row if piece > c else [-v for v in row]

    def thickness(self, rows: list[list[Fraction]], weights: list[Fraction]) -> Fraction:
        """Sum of absolute values of the rows' weighted mean, inputs shifted and divided by their widths."""
        problem = self.bounds.problem
        mean = [sum((v * row[j] for v, row in zip(weights, rows, strict=True)), Fraction(0))
                for j in range(problem.columns)]  # fmt: skip
        b = mean.pop()
        parts = [(v - b * s) / d for v, s, d in zip(mean, problem.shift, problem.width, strict=True)]
        return sum((abs(v) for v in [*parts, b]), Fraction(0)) / sum(weights, Fraction(0))
