"""Proofs of statements "on the samples S, loss plus penalty of every network is at least L", as trees in preorder.

A node is reached by a path: samples of S, each with a piece for each neuron; signs of output weights are still open.

* ["n", sample, certificates]: the certificates close the signs they are for. The children are the joint choices of
  pieces for the sample, in lexicographic order, without those left out below.
* ["b", certificates]: they close all signs that are open.
* ["w"], for errors only: the samples given up, and an earlier statement about others, cost L.
* ["e", k, steps] or ["e", k, steps, weights]: no neuron k has such a pattern, as some of its steps and cuts show, or
  no neurons of its orbit have such patterns: a step, a cut and, where it is not k, which neuron's they are.

*All networks are covered.* Take the neuron's w and b that the support leaves free. If no sample lies on the boundary of
a piece, the network's own pieces are a path. Otherwise its (w, b) lies in the closure of a cell of the arrangement of
the boundaries, whose pieces' formulas hold at it too, since the activation is continuous. So it is enough to close
nonempty open cells (for hardtanh: of (v w, v b, v) within v > 0). A pattern may be cut off if boundaries' forms, each
with the sign of its side, have a dependence with nonnegative coefficients: they cannot all be positive then. It is
found by elimination from the few steps and cuts that are named. A form that vanishes says nothing. Neurons with tied
weights have one arrangement, that of all their forms of the weights they share.

step and sign jump. A neuron with some w.x_i + b = 0 has the same outputs as one with a slightly larger bias, so open
cells are enough for them as well (ties must let all biases grow). With strict > 0 the claim is about fewer networks:
those whose neurons have |w.x_i + b| >= strict max|(w, b)| at all samples, inputs shifted and divided by their widths as
in `training`. A mean of one neuron's sides whose entries' absolute values sum to less than `strict` then excludes a
pattern.

*Left out* are children that exchange equal orbits: with the same ties, boxes and penalties, signs in every order and
the same pieces so far, the earlier orbit takes the higher pieces (its first neuron's first); and for abs in boxes that
are symmetric about 0, children of the root in which an orbit's first neuron is below the cut, since t and -t are the
same neurons.

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
    alike: list[bool] = field(init=False)  # orbit o may change places with orbit o - 1
    flip: list[bool] = field(init=False)
    place: list[slice] = field(init=False)  # an orbit's neurons

    def __post_init__(self) -> None:
        problem, orbits, free = self.bounds.problem, self.bounds.orbits, self.bounds.free
        count, known = len(orbits), set(self.signs)
        self.alike = [False] * count
        for o in range(1, count):
            exchanged = [(*s[: o - 1], s[o], s[o - 1], *s[o + 1 :]) for s in self.signs]
            self.alike[o] = (orbits[o].alike(orbits[o - 1]) and free[o] == free[o - 1]
                             and all(s in known for s in exchanged))  # fmt: skip
        self.flip = [problem.activation == "abs" and orbit.symmetric for orbit in orbits]
        ends = list(itertools.accumulate((len(orbit.members) for orbit in orbits), initial=0))
        self.place = [slice(a, b) for a, b in itertools.pairwise(ends)]

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
        same = [(self.place[o], self.place[o - 1]) for o in range(1, len(self.place))
                if self.alike[o] and all(c[self.place[o]] == c[self.place[o - 1]] for c in right)]  # fmt: skip
        above = [place.start for place, flip in zip(self.place, self.flip, strict=True) if flip and not right]
        for choice in itertools.product(range(self.bounds.problem.pieces), repeat=len(self.bounds.neurons)):
            if all(choice[k] for k in above) and not any(choice[b] > choice[a] for b, a in same):
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
        """Check that neuron k, or its orbit, has no such pattern."""
        cuts = self.bounds.problem.pieces - 1
        if not 0 <= k < len(self.bounds.neurons) or not steps:
            raise EvidenceError("an empty node names nothing")
        rows = []
        own = self.bounds.neurons[k][0]
        for t, c, *others in steps:
            (j,) = others or (k,)
            if t == -1 and self.bounds.problem.activation == "hardtanh":
                rows.append([Fraction(0)] * sum(self.bounds.free[own]) + [Fraction(1)])  # v > 0
            elif 0 <= t < len(path) and 0 <= c < cuts and (choice := path[t][1]) is not None:
                if not 0 <= j < len(self.bounds.neurons) or self.bounds.neurons[j][0] != own:
                    raise EvidenceError("an empty node names a neuron of another orbit")
                rows.append(self.side(j, path[t][0], c, choice[j]))
            else:
                raise EvidenceError("an empty node names a wrong sample")
        if weights is None:
            if not nonnegative_dependence(rows):
                raise EvidenceError("a pattern was cut off that a neuron may have")
            return
        lambdas = numbers(weights)
        if len(lambdas) != len(rows) or any(v < 0 for v in lambdas) or not any(lambdas):
            raise EvidenceError("the weights of an empty node are wrong")
        sides = [self.plain_side(path[t][0], c, path[t][1][k]) for t, c in steps]  # type: ignore[index]
        if self.thickness(sides, lambdas) >= self.strict:
            raise EvidenceError("a pattern was cut off that a neuron may have with room")

    def side(self, k: int, i: int, c: int, piece: int) -> list[Fraction]:
        """The form of cut c on sample i for neuron k, in the orbit's weights that the support leaves free, positive on
        the piece's side."""
        o, m = self.bounds.neurons[k]
        free = self.bounds.free[o]
        whole = self.bounds.orbits[o].pull(m, self.bounds.problem.side(c, i))
        row = [v for j, v in enumerate(whole) if j >= len(free) or free[j]]
        return row if piece > c else [-v for v in row]

    def plain_side(self, i: int, c: int, piece: int) -> list[Fraction]:
        """The same in all of a neuron's own (w, b)."""
        row = self.bounds.problem.side(c, i)
        return row if piece > c else [-v for v in row]

    def thickness(self, rows: list[list[Fraction]], weights: list[Fraction]) -> Fraction:
        """Sum of absolute values of the rows' weighted mean, inputs shifted and divided by their widths."""
        problem = self.bounds.problem
        mean = [sum((v * row[j] for v, row in zip(weights, rows, strict=True)), Fraction(0))
                for j in range(problem.columns)]  # fmt: skip
        b = mean.pop()
        parts = [(v - b * s) / d for v, s, d in zip(mean, problem.shift, problem.width, strict=True)]
        return sum((abs(v) for v in [*parts, b]), Fraction(0)) / sum(weights, Fraction(0))
