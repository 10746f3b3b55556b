"""Russian dolls (Verfaillie, Lemaitre, Schiex 1996) around the tree search: subsets of the samples are solved to proof,
each one inside the next.

The loss is a sum over samples, so the optimum on a subset bounds that part of any larger problem from below. Subsets
grow by the sample that the last optimal network gets most wrong. The doll's optimum then rises as fast as it can, so
its bound is nearly the incumbent when the easy samples come, and their subtrees are cut at once. A doll needs no more
than a lower bound: it is proven to DOLL_GAP only, and only at sizes that grow geometrically (`stride`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnspec.engines.cells.convex import Convex, explore_form
from nnspec.engines.cells.driver import ROUND, Search, Stopped
from nnspec.engines.cells.form import Doll, Form, build
from nnspec.engines.cells.instance import Subtree, cone_coordinates, whole_tree
from nnspec.engines.cells.work import Effort, Visit

DOLL_GAP = 1e-3
SLACK = 1.0
"""Part of the distance from the ceiling to the own incumbent that the bounds of subsets may miss."""
FIRST_STARTS, STARTS, FEW = 200, 40, 5
"""Random starts of the local search: on all samples, on a subset before it is proven, and while it grows."""
FIRST_BUDGET, BUDGET = 1_000, 20_000
"""Nodes of the first visit to a tree, and of later ones."""


def polytope_room(r: int) -> int:
    """Vertices that a polytope of cones in dimension r may have: more than nearly all cells of arrangements need, but
    from r = 9 on those of a simplex: there, looking for patterns that do not exist costs more than they do, see
    docs/cells.md."""
    return {1: 4, 2: 4, 3: 64, 4: 160, 5: 400, 6: 1500, 7: 400, 8: 400}.get(r, r + 1)


class ConvexSearch(Search):
    """Dolls over a Form. State.theta and State.best are z."""

    def __init__(self, form: Form, gap: float, gap_absolute: float, threads: int, seed: int, **limits: Any) -> None:
        self.form = form
        super().__init__(form.neurons, gap, gap_absolute, threads, seed, **limits)

    def __post_init__(self) -> None:
        super().__post_init__()
        f = self.form
        self.known: list[np.ndarray] = []
        self.cone = cone_coordinates(f.inputs)
        self.size = f.size
        self.convex = Convex(f, self.control)
        r = f.cone.shape[3]
        self.room = polytope_room(r)
        if self.memory is not None:
            vertex = f.neurons * (f.samples + 2) * f.pieces * (8 * r + 4 * (r - 1))
            self.room = min(self.room, int(self.memory / self.threads / vertex))
        self.enough = self.room >= r

    def begin(self, z: np.ndarray, value: float) -> None:
        """A known network, to be looked at with the first ones; not if rounding moves a sample over a jump."""
        if abs(self.convex.loss(z, np.arange(self.form.samples)) - value) <= 1e-6 * (1.0 + abs(value)):
            self.known.append(z)

    def first(self) -> None:
        s, everything = self.state, np.arange(self.form.samples)
        starts = FIRST_STARTS if self.form.samples < 300 else 60
        s.best_loss, s.best = self.convex.improve(everything, None, starts, self.seed)
        for z in self.known:
            loss, best = self.convex.improve(everything, z, 0, self.seed)
            if loss < s.best_loss:
                s.best_loss, s.best = loss, best

    def stride(self, n: int) -> int:
        """Few dolls: each is half as large again as the one before, or twice as large for a single neuron.

        Iris with four features and two neurons, the signs of its optimum: 21 s of processor time; 60 s with steps of a
        third, 41 s with steps of three quarters. One neuron: 15 s instead of 31 s with steps of a half. In the small,
        30 samples with d=4: 36,700 nodes; 86,300 with all sizes up to twice the unknowns.
        """
        return n if self.neurons == 1 else n // 2

    def instance(self) -> Doll | None:
        """The samples `order`; None if they do not span."""
        return build(self.form, self.cone, self.state.order, self.state.proven)

    def grow_dolls(self) -> float:
        s = self.state
        if s.best is None:
            self.first()
            self.tell(0.0)
        if not self.enough:
            raise Stopped("memory")
        if not s.order:
            s.order = self.seed_order()
            s.proven = [0.0] * (len(s.order) + 1)
        last_proven = s.proofs[-1][0] if s.proofs else 0
        while True:
            n = len(s.order)
            whole = n == self.form.samples
            top = min(s.best_loss, self.ceiling)
            if top <= self.gap_absolute:
                return 0.0
            if s.open is None:
                instance = self.instance()
                due = whole or (instance is not None and n - last_proven >= self.stride(n))
                loss, s.theta = (
                    (s.best_loss, s.best.copy()) if whole and s.best is not None else
                    self.convex.improve(np.array(s.order), s.theta, STARTS if due else FEW, self.seed)
                )  # fmt: skip
                due = whole or (due and loss > 1e-7)
                if due:
                    assert instance is not None
                    s.open, s.floor = [whole_tree(self.neurons)], np.inf
                else:
                    s.proven[n:] = [s.proven[-1]] if len(s.proven) == n else s.proven[n:]
            else:
                instance, due = self.instance(), True
            if due:
                assert instance is not None
                bound = self.prove(instance, whole)
                last_proven = n
                s.proofs.append((n, bound))
                self.try_everywhere()
                s.open = None
                bound = max(bound, s.proven[min(n, len(s.proven)) - 1])
                s.proven[n:] = [bound]
                if whole:
                    return bound
                self.tell(bound)
                top = min(s.best_loss, self.ceiling)
                if bound >= top - max(self.gap * top, self.gap_absolute):
                    return bound
                if bound > self.pause:
                    self.finished = False
                    self.grow()
                    return bound
            self.check()
            self.grow()

    def try_everywhere(self) -> None:
        """A doll's network, moved downhill on all samples, may be a new incumbent."""
        s, everything = self.state, np.arange(self.form.samples)
        loss, z = self.convex.improve(everything, s.theta, 0, self.seed)
        if loss < s.best_loss:
            s.best_loss, s.best = loss, z

    def seed_order(self) -> list[int]:
        """Samples that span, far from each other; newest first."""
        z = self.cone
        order = [int(np.argmax(np.linalg.norm(self.form.inputs, axis=1)))]
        q = z[order[0]][:, None]
        while len(order) < z.shape[1]:
            left = np.linalg.norm(z - (z @ q) @ q.T, axis=1)
            i = int(np.argmax(left))
            v = z[i] - q @ (q.T @ z[i])
            q = np.hstack([q, (v / np.linalg.norm(v))[:, None]])
            order.insert(0, i)
        return order

    def grow(self) -> None:
        """Put the sample that the current network gets most wrong in front."""
        s = self.state
        assert s.theta is not None
        losses = self.convex.sample_losses(s.theta)
        losses[s.order] = -1.0
        s.order = [int(np.argmax(losses)), *s.order]

    def prove(self, instance: Doll, whole: bool) -> float:
        """A lower bound of the optimum on the instance's samples, within the gap of the incumbent.

        Some samples' optimum is at most that of all. Where theirs is expected above what all may cost, that is to be
        proven, and ends the search; else the gap of a subset is a part of what all may miss.
        """
        s = self.state
        assert s.open is not None
        assert s.theta is not None
        top = min(s.best_loss, self.ceiling)
        incumbent = self.convex.loss(s.theta, instance.index)
        gap = self.gap
        if not whole and incumbent < top:
            gap = max(DOLL_GAP, self.gap, SLACK * (1.0 - top / s.best_loss))
        incumbent = min(incumbent, top)
        budget = FIRST_BUDGET
        while s.open:
            self.check()
            batch = s.open[:ROUND]
            visits = self.round(instance, batch, incumbent, gap, budget)
            rest = s.open[ROUND:]
            opened: list[Subtree] = []
            for visit in visits:
                opened += visit.open
                s.nodes += visit.nodes
                s.floor = min(s.floor, visit.floor)
                if visit.loss < incumbent:
                    incumbent, s.theta = visit.loss, visit.z
                    if whole:
                        s.best_loss, s.best = visit.loss, visit.z
            s.open = opened + rest
            budget = BUDGET
            if whole and self.report is not None:
                cut = incumbent - max(gap * incumbent, self.gap_absolute)
                self.tell(max(min([x.bound for x in s.open] + [s.floor, cut]), s.proven[-1]))
            elif self.report is not None:
                self.tell(s.proven[-1])
        return max(0.0, min(s.floor, incumbent - max(gap * incumbent, self.gap_absolute)))

    def round(self, instance: Doll, batch: list[Subtree], incumbent: float, gap: float, budget: int) -> list[Visit]:
        futures = [self.pool.submit(self.work, instance, subtree, incumbent, gap, budget) for subtree in batch]
        return [f.result() for f in futures]

    def work(self, instance: Doll, subtree: Subtree, loss: float, gap: float, budget: int) -> Visit:
        """Explore a subtree."""
        effort = Effort(gap, self.gap_absolute, budget, self.room)
        return explore_form(self.convex, instance, subtree, loss, effort)
