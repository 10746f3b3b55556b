"""Fewest errors of one or two step or sign neurons on the plane, checked by exact enumeration.

The samples that a network decides positive with the margin lie in {output > 0}, the negative ones outside, so it makes
at least the errors of this region. The output takes one value for each combination of sides of the neurons' lines, so
the region is a threshold function of one or two half-planes: of two, everything but "exactly one of them". Half-planes
may be exchanged for their complements, and classes with each other; so the region, or its complement, is a union A or B
of two half-planes (or A, or nothing).

Half-planes, as sets of samples: move a line that separates such a set from the others in parallel until it meets a
sample p, then turn it about p until it meets another one. Until then samples ahead of p on the new line were on one
side, those behind p on the other one. So a set is what lies left of a line through two samples, with those of the
line's samples that are before, or after, some p, with or without p. There are no others but nothing and everything.

If A has at least the true positives of B and at most its false ones, B is not needed in any union (a sample's class
here is the one that the union should hold).
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from nnspec.engines.cells.proof.exact import EvidenceError, exponent, integer
from nnspec.engines.cells.proof.training import THRESHOLD, Training

MOST = 200
"""Samples. The number of pairs of half-planes may grow with the fourth power."""

EXACT = 1 << 30
"""Integers below this have products that 64 bits hold."""


def applies(problem: Training) -> bool:
    """Whether the enumeration is about such a problem."""
    plane = problem.columns == 3 and problem.biased and 1 <= problem.neurons <= 2 and problem.margin > 0
    return problem.kind == "errors" and problem.activation in THRESHOLD and plane


def half_planes(points: list[list[Fraction]]) -> set[int]:
    """All sets of points that a line cuts off, as bits."""
    e = exponent(v for p in points for v in p)
    whole = [[integer(v, e) for v in p] for p in points]
    small = all(abs(v) < EXACT for p in whole for v in p)
    array = np.array(whole, dtype=np.int64 if small else object)
    everything = (1 << len(points)) - 1
    found = {0, everything}
    for p in range(len(points)):
        for q in range(p):
            along = array[q] - array[p]
            if not along.any():
                continue
            offset = array - array[p]
            side = along[0] * offset[:, 1] - along[1] * offset[:, 0]
            left, line = _bits(side > 0), np.flatnonzero(side == 0)
            right = everything & ~left & ~_bits(side == 0)
            position = along[0] * offset[line, 0] + along[1] * offset[line, 1]
            before = 0
            for value in sorted(set(position.tolist())):
                before |= sum(1 << int(i) for i, v in zip(line, position, strict=True) if v == value)
                for part in (left, right):
                    found |= {part | before, everything & ~(part | before)}
            found |= {left, right, everything & ~left, everything & ~right}
    return found


def _bits(mask: np.ndarray) -> int:
    return int.from_bytes(np.packbits(mask.astype(bool), bitorder="little").tobytes(), "little")


def fewest(problem: Training, below: Fraction) -> Fraction:
    """The least weight of errors of a region, or `below` if none has less."""
    e = exponent(problem.weights)
    weights = [integer(w, e) for w in problem.weights]
    groups = [(w, sum(1 << i for i, v in enumerate(weights) if v == w)) for w in sorted(set(weights))]

    def weigh(bits: int) -> int:
        return sum(w * (bits & mask).bit_count() for w, mask in groups)

    best = below * (1 << e)
    sets = half_planes(problem.x)
    for sign in (1, -1):
        positive = sum(1 << i for i, f in enumerate(problem.factor) if f == sign)
        total = weigh(positive)
        known = [(weigh(s & ~positive), total - weigh(s & positive), s) for s in sets]
        best = min(best, *(Fraction(false + missed) for false, missed, _ in known))
        if problem.neurons == 1:
            continue
        kept: list[tuple[int, int, int]] = []
        for false, missed, s in sorted((k for k in known if k[0] < best), key=lambda k: k[:2]):
            if not any(s & positive & ~a == 0 and a & ~positive & ~s == 0 for _, _, a in kept):
                kept.append((false, missed, s))
        kept.sort(key=lambda k: k[1])
        for i, (false, missed, s) in enumerate(kept):
            for other_false, other_missed, t in kept[i:]:
                if missed + other_missed - total >= best:  # all later ones miss more
                    break
                if max(false, other_false) < best:
                    best = min(best, Fraction(weigh((s | t) ^ positive)))
    return Fraction(best) / (1 << e)


def check(problem: Training, bound: Fraction) -> Fraction:
    """The bound of the objective that enumeration proves, at most `bound`."""
    if not applies(problem):
        raise EvidenceError("errors are checked for one or two step or sign neurons on the plane")
    if problem.samples > MOST:
        raise EvidenceError(f"errors are checked for at most {MOST} samples")
    return problem.offset + problem.scale * fewest(problem, (bound - problem.offset) / problem.scale)
