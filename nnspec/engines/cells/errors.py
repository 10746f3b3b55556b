"""Fewest errors of one or two step or sign neurons on the plane: the driver of `halfplanes`.

Both classes have to be tried as the positive one, a *role*. Each goes through stages: its half-planes and the best
single one; which of them are maximal; their pairs. The role with the least bound goes on, some half-planes at a time,
so that the search can be stopped between them, and go on from a small state: which half-planes were kept and how many
of them have been seen, since the half-planes themselves come quickly and always in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nnspec.engines.cells.halfplanes import best_pair, half_planes, maximal

if TYPE_CHECKING:
    from nnspec.engines.cells.checkpoint import Saved

SINGLE, MAXIMAL, PAIRS, DONE = range(4)
STEP = 500
"""Half-planes at a time."""


@dataclass(frozen=True, eq=False)
class Region:
    """Predicted positive: the union of the half-planes (or, negated, its complement)."""

    errors: float
    negated: bool
    planes: tuple[np.ndarray, ...]  # (3,) each: w1, w2, b with |w.x + b| >= the margin found


Planes = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Half-planes: bits, weights of false and of true positives."""


@dataclass(eq=False)
class Role:
    """One class as the positive one. limit, near: half-planes with false positives of more weight are left out from
    the start, and before maximal ones are looked for; struck: sets that no line separates; kept: the `count` maximal
    ones among the first `seen`; place: the next one whose pairs are looked at."""

    negated: bool
    positive: np.ndarray
    stage: int = SINGLE
    limit: float = np.inf
    near: float = np.inf
    bound: float = 0.0
    struck: list[np.ndarray] = field(default_factory=list)
    kept: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    count: int = 0
    seen: int = 0
    place: int = 0
    planes: Planes | None = None  # of this stage, once they are needed
    order: np.ndarray | None = None


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


def _without(planes: Planes, struck: list[np.ndarray]) -> Planes:
    bits, f, t = planes
    for one in struck:
        other = np.any(bits != one, axis=1)
        bits, f, t = bits[other], f[other], t[other]
    return bits, f, t


class HalfPlanes:
    """One search for the least weight of errors. y: -1 and +1; memory in bytes.

    control (1,): not 0 ends `run`. nodes: half-planes that were compared with others; exhausted: the memory did not
    suffice.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray, neurons: int, memory: float,
                 node_limit: int | None = None) -> None:  # fmt: skip
        self.x, self.weights, self.neurons, self.memory, self.node_limit = x, weights, neurons, memory, node_limit
        self.control = np.zeros(1, dtype=np.int64)
        self.report: Callable[[], None] | None = None
        self.nodes, self.exhausted = 0, False
        self.roles = [Role(negated, (y > 0) != negated) for negated in (False, True)]
        errors, everything = min((float(weights[(y > 0) != e].sum()), e) for e in (False, True))
        plane = np.append(np.zeros(x.shape[1]), 1.0 if everything else -1.0)
        self.best = Region(errors, False, (plane,))  # nothing, or everything, is positive

    @property
    def bound(self) -> float:
        return min(self.best.errors, *(role.bound for role in self.roles if role.stage != DONE), np.inf)

    def run(self) -> bool:
        """Search; whether it is complete."""
        while self.bound < self.best.errors:
            if self.control[0] != 0 or (self.node_limit is not None and self.nodes >= self.node_limit):
                return False
            left = [role for role in self.roles if role.stage != DONE]
            role = min(left, key=lambda r: (r.bound, r.stage))
            try:
                self.advance(role)
            except MemoryError:
                self.exhausted = True
                return False
            if self.report is not None:
                self.report()
        return True

    def advance(self, role: Role) -> None:
        """One stage, or some half-planes of it."""
        if role.planes is None:  # at first, and after a file was read
            if role.stage == SINGLE:
                role.limit = self.best.errors
            planes = self.half_planes(role)
            if self.control[0] != 0:  # they are not all
                return
            role.planes = planes
        if role.stage == SINGLE:
            planes = self.single(role, role.planes)
            if self.neurons > 1:
                self.begin(role, planes)
            else:
                role.stage, role.planes = DONE, None
        elif role.stage == MAXIMAL:
            self.maximal(role)
        else:
            self.pairs(role)

    def half_planes(self, role: Role) -> Planes:
        """Those of the role's stage."""
        held = sum(r.planes[0].nbytes for r in self.roles if r.planes is not None)
        bits, f, t = _half_planes(self.x, role.positive, self.weights, role.limit, self.control, self.memory - held)
        if self.control[0] == 0:
            bits, f, t = _without((bits, f, t), role.struck)
            if role.stage >= MAXIMAL:
                near = f < role.near
                bits, f, t = bits[near], f[near], t[near]
            if role.stage == PAIRS:
                bits, f, t = bits[role.kept], f[role.kept], t[role.kept]
        return bits, f, t

    def begin(self, role: Role, planes: Planes | None = None) -> None:
        """Look for maximal ones, from the start."""
        role.stage, role.near, role.planes, role.order = MAXIMAL, self.best.errors, None, None
        role.kept, role.count, role.seen, role.place = np.zeros(0, dtype=np.int64), 0, 0, 0
        if planes is not None:
            near = planes[1] < role.near
            role.planes = planes[0][near], planes[1][near], planes[2][near]

    def single(self, role: Role, planes: Planes) -> Planes:
        """Take the best single one; those that are not struck."""
        bits, f, t = planes
        wrong = float(self.weights[role.positive].sum()) - t + f
        for i in np.argsort(wrong, kind="stable"):
            if wrong[i] >= self.best.errors or self.take(role, float(wrong[i]), bits, (int(i),)):
                break
        return _without(planes, role.struck)

    def take(self, role: Role, errors: float, bits: np.ndarray, which: tuple[int, ...]) -> bool:
        """The union of these is the best region, or some are struck: whether it is."""
        planes = []
        for i in sorted(set(which)):
            found = separate(self.x, _mask(bits[i], len(self.x)))
            if found is None:
                role.struck.append(bits[i].copy())
            else:
                planes.append(found)
        if len(planes) < len(set(which)):
            return False
        self.best = Region(errors, role.negated, tuple(planes))
        return True

    def steps(self) -> int:
        return STEP if self.node_limit is None else min(STEP, self.node_limit - self.nodes)

    def maximal(self, role: Role) -> None:
        assert role.planes is not None
        bits, f, t = role.planes
        if len(role.kept) < len(f):  # from a file
            role.kept = np.append(role.kept, np.zeros(len(f) - len(role.kept), dtype=np.int64))
        before = role.seen
        role.count, role.seen = maximal(bits, f, t, _bits(role.positive), role.kept, role.count, role.seen,
                                        self.steps(), self.control)  # fmt: skip
        self.nodes += role.seen - before
        if role.seen == len(f):
            role.stage, role.kept = PAIRS, role.kept[: role.count].copy()
            role.planes = bits[role.kept], f[role.kept], t[role.kept]

    def pairs(self, role: Role) -> None:
        assert role.planes is not None
        bits, f, t = role.planes
        key = f - 2.0 * t
        if role.order is None:
            role.order = np.argsort(key, kind="stable")
        total = float(self.weights[role.positive].sum())
        words = _bits(role.positive)
        padded = np.zeros(64 * len(words))
        padded[: len(self.x)] = self.weights
        before = role.place
        errors, i, j, place = best_pair(bits, f, t, total, padded, words, bool(np.all(self.weights == 1.0)),
                                        self.best.errors, role.order, before, self.steps(), self.control)  # fmt: skip
        self.nodes += place - before
        if i >= 0 and not self.take(role, errors, bits, (i, j)):  # what they dominated may matter now
            self.begin(role)
            return
        role.place = place
        if place == len(f):
            role.stage, role.planes = DONE, None
        else:
            role.bound = max(role.bound, total + float(key[role.order[place]]))

    def state(self) -> Saved:
        """What a later search needs to go on."""
        from nnspec.engines.cells.checkpoint import Saved

        numbers = np.array([self.best.errors, self.best.negated, self.nodes])
        more = {"best": np.array(self.best.planes), "numbers": numbers}
        for k, r in enumerate(self.roles):
            more |= {f"{k}.floats": np.array([r.limit, r.near, r.bound]), f"{k}.kept": r.kept[: r.count],
                     f"{k}.ints": np.array([r.stage, r.count, r.seen, r.place]),
                     f"{k}.struck": np.array(r.struck, dtype=np.uint64)}  # fmt: skip
        return Saved(more=more)

    def resume(self, saved: Saved) -> None:
        """Go on from a `state`."""
        more = saved.more
        errors, negated, nodes = more["numbers"]
        self.best, self.nodes = Region(float(errors), bool(negated), tuple(more["best"])), int(nodes)
        for k, r in enumerate(self.roles):
            r.limit, r.near, r.bound = (float(v) for v in more[f"{k}.floats"])
            r.stage, r.count, r.seen, r.place = (int(v) for v in more[f"{k}.ints"])
            r.kept, r.struck = more[f"{k}.kept"], list(more[f"{k}.struck"])
