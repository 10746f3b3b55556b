"""Neurons that share weights: what the ties of a problem leave of it.

A file lists for each entry of (w_1, b_1), .., (w_H, b_H), v_1, .., v_H, c the first entry that it equals up to sign,
and the sign; 0 for entries that have to be 0. An *orbit* is a smallest set of neurons that shares no entry with another
one. Its neurons have

    (w_k, b_k) = M_k t,   v_k = e_k n,   e_k = 1 or -1,

with a vector t of weights and a number n of its own; each row of M_k has one entry 1 or -1, or none. Ties of another
form are refused. Ranges of entries that are tied are intersected, penalties add up: sum p_kj w_kj^2 = sum P_m t_m^2.
With theta = n t neuron k's v_k (w_k, b_k) is e_k M_k theta, so linear forms of neurons are linear forms of the orbit's
unknowns. Without ties each neuron is an orbit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from nnspec.engines.cells.proof.exact import EvidenceError

if TYPE_CHECKING:
    from nnspec.problem.problem import Tie

Limit = Fraction | None  # None: no limit
Entries = list[tuple[int, int]]  # (first equal entry, sign) of each


@dataclass(frozen=True)
class Orbit:
    """places: for each member the column of t and the sign of each entry of (w, b), sign 0 where it is 0. turned: e_k.
    Boxes and penalties are those of t and n."""

    members: tuple[int, ...]
    places: list[list[tuple[int, int]]]
    turned: list[int]
    lo: list[Limit]
    hi: list[Limit]
    out_lo: Limit
    out_hi: Limit
    hidden_decay: list[Fraction]
    output_decay: Fraction

    @property
    def columns(self) -> int:
        return len(self.lo)

    def pull(self, m: int, row: Sequence[Fraction]) -> list[Fraction]:
        """A form of member m's (w, b), and what follows it, as one of t, and what follows it."""
        places = self.places[m]
        form = [Fraction(0)] * self.columns + list(row[len(places) :])
        for (place, sign), v in zip(places, row, strict=False):
            form[place] += sign * v
        return form

    @property
    def symmetric(self) -> bool:
        """Whether the boxes of t are symmetric about 0."""
        return all(_opposite(a, b) for a, b in zip(self.lo, self.hi, strict=True))

    @property
    def one_sided(self) -> bool:
        """Whether -t and -n are possible wherever t and n are."""
        return self.symmetric and _opposite(self.out_lo, self.out_hi)

    @property
    def rising(self) -> bool:
        """Whether the biases of all members can grow together while the other weights stay."""
        others = {place for row in self.places for place, sign in row[:-1] if sign != 0}
        return all(row[-1][1] == 1 and row[-1][0] not in others for row in self.places)

    @property
    def apart(self) -> bool:
        """Whether a box does not contain 0."""
        return any(away(*box) for box in (*zip(self.lo, self.hi, strict=True), (self.out_lo, self.out_hi)))

    @property
    def fixed(self) -> Limit:
        """The output weight n, if its box leaves one value."""
        return self.out_lo if self.out_lo == self.out_hi else None

    def alike(self, other: Orbit) -> bool:
        """Whether two orbits may change places: the same ties, boxes and penalties."""
        names = ("places", "turned", "lo", "hi", "out_lo", "out_hi", "hidden_decay", "output_decay")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def size(self, s: int) -> tuple[Fraction, Limit]:
        """The range of |n| for an output weight of sign s."""
        low, high = self.out_lo, self.out_hi
        if s < 0:
            low, high = None if high is None else -high, None if low is None else -low
        return max(Fraction(0), low or Fraction(0)), None if high is None else max(Fraction(0), high)


def away(low: Limit, high: Limit) -> bool:
    """Whether an interval does not contain 0."""
    return (low is not None and low > 0) or (high is not None and high < 0)


def nearest(low: Limit, high: Limit) -> Fraction:
    """The number of an interval that is nearest to 0."""
    return max(low or Fraction(0), Fraction(0)) + min(high if high is not None else Fraction(0), Fraction(0))


def nothing(low: Limit, high: Limit) -> bool:
    """Whether an interval is 0 alone."""
    return low == high == 0


def _opposite(a: Limit, b: Limit) -> bool:
    return (a is None and b is None) or (a is not None and b is not None and a == -b)


def read_entries(found: object, count: int) -> Entries:
    """The entries of a file; None: nothing is tied."""
    if found is None:
        return [(e, 1) for e in range(count)]
    if not isinstance(found, list) or len(found) != count:
        raise EvidenceError("the ties have the wrong length")
    entries: Entries = []
    for e, (root, sign) in enumerate(found):
        if isinstance(sign, bool) or sign not in (-1, 0, 1) or isinstance(root, bool) or not isinstance(root, int):
            raise EvidenceError("a tie has no sign")
        first = root == e and sign != -1
        if not first and not (0 <= root < e and sign != 0 and entries[root] == (root, 1)):
            raise EvidenceError("an entry is tied to one that is not the first")
        entries.append((root, int(sign)))
    return entries


def orbits(entries: Entries, lo: list[list[Limit]], hi: list[list[Limit]], out_lo: list[Limit], out_hi: list[Limit],
           hidden_decay: list[list[Fraction]], output_decay: list[Fraction]) -> list[Orbit]:  # fmt: skip
    """The orbits in the order of their first neurons. Raises EvidenceError for other ties."""
    count, columns = len(lo), len(lo[0])
    if entries[-1][0] != len(entries) - 1:
        raise EvidenceError("an output bias is tied to another weight")
    hidden = [entries[k * columns : (k + 1) * columns] for k in range(count)]
    outer = entries[count * columns : -1]
    inner = {root for row in hidden for root, sign in row if sign != 0}
    if any(sign != 0 and root in inner for root, sign in outer):
        raise EvidenceError("an output weight is tied to a hidden one")
    orbit_of = list(range(count))
    for k in range(count):
        own = {root for root, sign in (*hidden[k], outer[k]) if sign != 0}
        for j in range(k):
            if own & {root for root, sign in (*hidden[j], outer[j]) if sign != 0}:
                old, new = orbit_of[k], orbit_of[j]
                orbit_of = [new if o == old else o for o in orbit_of]
    found = []
    for first in dict.fromkeys(orbit_of):
        members = tuple(k for k in range(count) if orbit_of[k] == first)
        heads = {(outer[k][0], outer[k][1] != 0) for k in members}
        gone = all(outer[k][1] == 0 for k in members)
        if len(heads) > 1 and not gone:
            raise EvidenceError("neurons with tied weights have different output weights")
        roots = list(dict.fromkeys(root for k in members for root, sign in hidden[k][:-1] if sign != 0))
        roots += [root for root in dict.fromkeys(hidden[k][-1][0] for k in members if hidden[k][-1][1] != 0)
                  if root not in roots]  # fmt: skip
        columns_of = {root: m for m, root in enumerate(roots or [None])}
        places = [[(columns_of[root], sign) if sign != 0 else (0, 0) for root, sign in hidden[k]] for k in members]
        size = len(columns_of)
        low, high = list[Limit]([None] * size), list[Limit]([None] * size)
        decay = [Fraction(0)] * size
        for k, row in zip(members, places, strict=True):
            for j, (place, sign) in enumerate(row):
                if sign == 0:
                    _within(_ZERO, lo[k][j], hi[k][j], 1)  # 0 has to be possible
                    continue
                low[place], high[place] = _within((low[place], high[place]), lo[k][j], hi[k][j], sign)
                decay[place] += hidden_decay[k][j]
        if not roots:
            low = high = [Fraction(0)]
        turned = [outer[k][1] * outer[members[0]][1] or 1 for k in members]
        ends = _ZERO if gone else (None, None)
        for k, e in zip(members, turned, strict=True):
            ends = _within(ends, out_lo[k], out_hi[k], e)
        found.append(Orbit(members, places, turned, low, high, *ends, decay,
                           sum((output_decay[k] for k in members), Fraction(0))))  # fmt: skip
    return found


_ZERO: tuple[Limit, Limit] = (Fraction(0), Fraction(0))


def _within(ends: tuple[Limit, Limit], low: Limit, high: Limit, sign: int) -> tuple[Limit, Limit]:
    """The part of an interval that is within sign * [low, high]."""
    if sign < 0:
        low, high = None if high is None else -high, None if low is None else -low
    lows, highs = [v for v in (ends[0], low) if v is not None], [v for v in (ends[1], high) if v is not None]
    least, most = max(lows, default=None), min(highs, default=None)
    if least is not None and most is not None and least > most:
        raise EvidenceError("the ties leave a weight no value")
    return least, most


def entries_of(ties: Sequence[Tie], places: dict[tuple[str, int], int], count: int) -> Entries | None:
    """The entries that a spec's ties imply; places: the entry of each of its weights. None if others are tied."""
    root, sign = list(range(count)), [1] * count
    for tie in ties:
        if tie.target not in places or tie.source not in places or tie.sign not in (-1, 1):
            return None
        a, b = places[tie.target], places[tie.source]
        s = int(tie.sign) * sign[a] * sign[b]  # of the root of a in that of b
        old, new = root[a], root[b]
        zero = (old == new and s != 1) or 0 in (sign[old], sign[new])
        for e in range(count):
            if root[e] in (old, new):
                sign[e] = 0 if zero else sign[e] * s if root[e] == old and old != new else sign[e]
                root[e] = new
    found: Entries = []
    first: dict[int, int] = {}
    for e in range(count):
        head = first.setdefault(root[e], e)
        found.append((e, 0) if sign[e] == 0 else (head, sign[e] * sign[head]))
    return found
