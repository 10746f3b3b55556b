"""The general search (`search_convex`) behind the driver's interface, and its own work on subtrees."""

# mypy: disable-error-code="arg-type,call-arg"
from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnspec.engines.cells.driver import Search, polytope_room
from nnspec.engines.cells.form import Doll, Form, build
from nnspec.engines.cells.instance import Subtree, cone_coordinates
from nnspec.engines.cells.local_convex import descend_convex, descend_squares, multistart_convex
from nnspec.engines.cells.search_convex import (
    BUDGET,
    OUTSIDE,
    RIDGE,
    Found,
    Frame,
    Price,
    Rows,
    network_loss,
    penalty,
    search_convex,
    within,
)
from nnspec.engines.cells.traverse import make_cones
from nnspec.engines.cells.work import Effort, Visit

ROUNDING = 4e-15
"""Backward error of the triangular factor per unit of row size, times the root of the number of rotations: a row of
size s costs at most ROUNDING * s * sqrt(N) * |z| in a residual."""

SLOWER = 20
"""Nodes of this search cost about so many of the others': budgets of nodes are divided by it."""


@dataclass(frozen=True, eq=False)
class Convex:
    """Losses on a list of a Form's samples, with the penalty but in `sample_losses`."""

    form: Form
    control: np.ndarray  # (1,), not 0 once the search is to stop

    @functools.cached_property
    def price(self) -> Price:
        f = self.form
        inverses = np.array([np.linalg.pinv(b) for b in f.blocks]).reshape(len(f.blocks), f.size, f.blocks.shape[1])
        return Price(f.blocks, inverses, f.nu, f.p_rows, f.p_y, f.p_kappa, f.boxes, f.box_rhs, f.box_hi, f.box_kappa,
                     f.reach)

    def rows(self, index: np.ndarray, suffix: np.ndarray | None = None) -> Rows:
        """The samples `index`; the arrays are the caller's own."""
        f = self.form
        return Rows(np.ascontiguousarray(f.features[:, :, index]), f.base[index],
                    np.ascontiguousarray(f.cuts[:, index]), f.y[index], f.lo[index], f.hi[index], f.kappa[index],
                    np.arange(len(index)), f.group[index],
                    np.ones(len(index), dtype=np.int64) if suffix is None else suffix.copy(), f.largest)  # fmt: skip

    def loss(self, z: np.ndarray, signs: int, index: np.ndarray) -> float:
        """Infinite outside of the boxes."""
        if not within(self.price, z, OUTSIDE):
            return np.inf
        return float(network_loss(self.rows(index), z, np.zeros(len(index))) + penalty(self.price, z))

    def sample_losses(self, z: np.ndarray, signs: int) -> np.ndarray:
        losses = np.zeros(self.form.samples)
        network_loss(self.rows(np.arange(self.form.samples)), z, losses)
        return losses

    def improve(self, index: np.ndarray, z: np.ndarray | None, signs: int, starts: int, seed: int
                ) -> tuple[float, np.ndarray, int]:  # fmt: skip
        """A good network on the samples `index`: from the zero network, from z, and from random ones."""
        f, rows, price = self.form, self.rows(index), self.price
        plain = f.squared and not f.penalised
        best = np.zeros(f.numbers)
        incumbent = np.array([np.inf])
        for candidate in (np.zeros(f.numbers), z):
            if candidate is None:
                continue
            moved = candidate.copy()
            value = self.loss(moved, 0, index)
            if value < incumbent[0]:
                incumbent[0], best = value, moved.copy()
            value = descend_squares(moved, rows, price, 100) if plain else descend_convex(moved, rows, price, 30)
            if value < incumbent[0]:
                incumbent[0], best = value, moved
        multistart_convex(starts, seed + len(index), plain, best, incumbent, rows, price, self.control)
        return float(incumbent[0]), best, 0

    def margin(self) -> np.ndarray:
        """Rounding can raise a computed residual sum b above the true one by at most margin[0] + margin[1] sqrt(b)."""
        f = self.form
        if not f.squared:
            return np.zeros(2)
        reach = float(np.linalg.norm(f.reach))
        row = np.sqrt(float(np.max(np.sum(np.abs(f.features).max(axis=1).sum(axis=0) ** 2, axis=1))) + 1.0)
        backward = ROUNDING * row * np.sqrt(f.samples * f.size) * reach
        return np.array([RIDGE**2 * reach**2 + backward**2, 2 * backward])

    def search(self, doll: Doll, prefix: np.ndarray, gap: float, gap_absolute: float, budget: int, room: int,
               found: Found) -> int:  # fmt: skip
        """The tree below a prefix."""
        f = self.form
        frame = Frame(f.squared, doll.proven, f.alike, f.flip, f.twins, f.strict, gap, gap_absolute, self.margin())
        cones = make_cones(doll.cone.copy(), doll.eps.copy(), doll.inverse, len(f.half_space), doll.basis, f.neurons,
                           room)  # fmt: skip
        return int(search_convex(self.rows(doll.index, doll.suffix), cones, self.price, frame, prefix, budget,
                                 self.control, found))  # fmt: skip


class ConvexSearch(Search):
    """The dolls of `driver` over a Form."""

    def __init__(self, form: Form, gap: float, gap_absolute: float, threads: int, seed: int, **limits: Any) -> None:
        self.form = form
        super().__init__(form, form.neurons, gap, gap_absolute, threads, seed, **limits)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        f = self.form
        self.known: list[np.ndarray] = []
        self.control = np.zeros(1, dtype=np.int64)
        self.cone = cone_coordinates(f.inputs)
        self.size = f.size
        self.convex = Convex(f, self.control)
        self.kernel = self.convex  # type: ignore[assignment]
        self.pool = ThreadPoolExecutor(max_workers=self.threads)
        r = f.cone.shape[2]
        self.room = polytope_room(r)
        if self.memory is not None:
            vertex = f.neurons * (f.samples + 2) * f.pieces * (8 * r + 4 * (r - 1))
            self.room = min(self.room, int(self.memory / self.threads / vertex))
        self.enough = self.room >= r

    def begin(self, z: np.ndarray, value: float) -> None:
        """A known network, to be looked at with the first ones; not if rounding moves a sample over a jump."""
        if abs(self.convex.loss(z, 0, np.arange(self.form.samples)) - value) <= 1e-6 * (1.0 + abs(value)):
            self.known.append(z)

    def first(self) -> None:
        super().first()
        s, everything = self.state, np.arange(self.form.samples)
        for z in self.known:
            loss, best, _ = self.convex.improve(everything, z, 0, 0, self.seed)
            if loss < s.best_loss:
                s.best_loss, s.best = loss, best

    def stride(self, n: int) -> int:
        """Few dolls: each is half as large again as the one before, or twice as large for a single neuron.

        Iris with four features and two neurons, the signs of its optimum: 21 s of processor time; 60 s with steps of a
        third, 41 s with steps of three quarters. One neuron: 15 s instead of 31 s with steps of a half.
        """
        return 1 if n < 2 * self.size else n if self.neurons == 1 else n // 2

    def farthest(self) -> int:
        return int(np.argmax(np.linalg.norm(self.form.inputs, axis=1)))

    def instance(self) -> Doll | None:  # type: ignore[override]
        return build(self.form, self.cone, self.state.order, self.state.proven)

    def work(self, instance: Doll, subtree: Subtree, loss: float, gap: float, budget: int) -> tuple:  # type: ignore[override,type-arg]
        """Explore a subtree: (loss, z, signs, open subtrees, floor, nodes)."""
        effort = Effort(gap, self.gap_absolute, budget // SLOWER, self.room)
        v = explore_form(self.convex, instance, subtree, loss, effort)
        return v.loss, v.theta, v.signs, list(v.open), v.floor, v.nodes


def explore_form(convex: Convex, doll: Doll, subtree: Subtree, loss: float, effort: Effort) -> Visit:
    """`work.explore_subtree` for the general search: picklable values, so that any process can do it."""
    f, n = convex.form, doll.size
    limit = (n + 1) * f.pieces**f.neurons
    found = Found(np.array([loss, -1.0]), np.zeros(f.numbers), np.zeros((limit, n, f.neurons + 1), dtype=np.int64),
                  np.zeros(limit, dtype=np.int64), np.zeros(limit), np.zeros(5, dtype=np.int64),
                  np.array([np.inf]))  # fmt: skip
    left = []
    prefix = subtree.prefix.astype(np.int64)
    if not len(prefix):
        prefix = np.zeros((0, f.neurons + 1), dtype=np.int64)
    if convex.search(doll, prefix, effort.gap, effort.gap_absolute, effort.budget, effort.room, found) == BUDGET:
        for i in range(int(found.counts[4])):
            bound = max(float(found.open_bound[i]), subtree.bound)
            left.append(Subtree(found.open_prefix[i, : found.open_depth[i]].copy(), bound))
    best = float(found.incumbent[0]) if found.incumbent[1] >= 0 else np.inf
    return Visit(best, found.z, 0, tuple(left), float(found.floor[0]), int(found.counts[0]))
