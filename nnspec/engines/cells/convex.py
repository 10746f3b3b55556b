"""A Form's losses, local search and tree search (compiled) for arrays of Python."""

# mypy: disable-error-code="arg-type,call-arg"
from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from nnspec.engines.cells.arrays import Found, Frame, Price, Rows
from nnspec.engines.cells.form import Doll, Form
from nnspec.engines.cells.instance import Subtree
from nnspec.engines.cells.local_convex import descend, descend_convex, descent, multistart_convex
from nnspec.engines.cells.network import network_loss, penalty, within
from nnspec.engines.cells.search_convex import BUDGET, OUTSIDE, RIDGE, search_convex
from nnspec.engines.cells.traverse import make_cones
from nnspec.engines.cells.work import Effort, Visit

ROUNDING = 4e-15
"""Backward error of the triangular factor per unit of row size, times the root of the number of rotations: a row of
size s costs at most ROUNDING * s * sqrt(N) * |z| in a residual."""

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

    def loss(self, z: np.ndarray, index: np.ndarray) -> float:
        """Infinite outside of the boxes."""
        if not within(self.price, z, OUTSIDE):
            return np.inf
        return float(network_loss(self.rows(index), z, np.zeros(len(index))) + penalty(self.price, z))

    def sample_losses(self, z: np.ndarray) -> np.ndarray:
        losses = np.zeros(self.form.samples)
        network_loss(self.rows(np.arange(self.form.samples)), z, losses)
        return losses

    def improve(self, index: np.ndarray, z: np.ndarray | None, starts: int, seed: int) -> tuple[float, np.ndarray]:
        """A good network on the samples `index`: from the zero network, from z, and from random ones."""
        f, rows, price = self.form, self.rows(index), self.price
        plain = not f.penalised and (f.squared or bool(np.all(f.box_rhs <= 0.0)))
        room = descent(rows)
        best = np.zeros(f.numbers)
        incumbent = np.array([np.inf])
        for candidate in (np.zeros(f.numbers), z):
            if candidate is None:
                continue
            moved = candidate.copy()
            value = self.loss(moved, index)
            if value < incumbent[0]:
                incumbent[0], best = value, moved.copy()
            value = descend(moved, rows, price, 100, room) if plain else descend_convex(moved, rows, price, 30)
            if value < incumbent[0]:
                incumbent[0], best = value, moved
        multistart_convex(starts, seed + len(index), plain, best, incumbent, rows, price, self.control, room)
        if f.directions is not None and not f.directions.clear(best[f.size :].reshape(f.neurons, -1)):
            best = np.zeros(f.numbers)
            incumbent[0] = self.loss(best, index)
        return float(incumbent[0]), best

    def margin(self) -> np.ndarray:
        """The ridge and rounding can raise a computed residual sum b above the true one by at most margin[0] +
        margin[1] sqrt(b). Where the factor holds the ridge alone, bounds pay for their own rounding."""
        f = self.form
        reach = float(np.linalg.norm(f.reach))
        if not f.squared:
            return np.array([RIDGE**2 * reach**2, 0.0])
        row = np.sqrt(float(np.max(np.sum(np.abs(f.features).max(axis=1).sum(axis=0) ** 2, axis=1))) + 1.0)
        backward = ROUNDING * row * np.sqrt(f.samples * f.size) * reach
        return np.array([RIDGE**2 * reach**2 + backward**2, 2 * backward])

    def search(self, doll: Doll, prefix: np.ndarray, gap: float, gap_absolute: float, budget: int, room: int,
               found: Found) -> int:  # fmt: skip
        """The tree below a prefix."""
        f = self.form
        frame = Frame(f.squared, doll.proven, f.alike, f.flip, f.twins, f.strict, gap, gap_absolute, self.margin())
        cones = make_cones(doll.bases, doll.cone.copy(), doll.eps.copy(), room)
        return search_convex(self.rows(doll.index, doll.suffix), cones, self.price, frame, prefix, budget,
                             self.control, found)  # fmt: skip


def explore_form(convex: Convex, doll: Doll, subtree: Subtree, loss: float, effort: Effort) -> Visit:
    """Explore `subtree` for networks below `loss`: the same for the same arguments in whatever process."""
    f, n = convex.form, doll.size
    limit = (n + 1) * f.pieces**f.neurons
    found = Found(np.array([loss, -1.0]), np.zeros(f.numbers), np.zeros((limit, n, f.neurons + 1), dtype=np.int64),
                  np.zeros(limit, dtype=np.int64), np.zeros(limit), np.zeros(5, dtype=np.int64),
                  np.array([np.inf]))  # fmt: skip
    left = []
    prefix = subtree.prefix.astype(np.int64)
    if convex.search(doll, prefix, effort.gap, effort.gap_absolute, effort.budget, effort.room, found) == BUDGET:
        for i in range(int(found.counts[4])):
            bound = max(float(found.open_bound[i]), subtree.bound)
            left.append(Subtree(found.open_prefix[i, : found.open_depth[i]].copy(), bound))
    best = float(found.incumbent[0]) if found.incumbent[1] >= 0 else np.inf
    return Visit(best, found.z, tuple(left), float(found.floor[0]), int(found.counts[0]))
