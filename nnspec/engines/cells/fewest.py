"""The fewest errors of any network that the engine takes: the dolls of `driver` around `search_errors`.

A doll's samples are those that the network before gets wrong, one more at a time: opt(m) is opt(m - 1) or more, at most
by the new sample's weight. Once the last doll's network has no further errors on all data, it is the best one.
"""

# mypy: disable-error-code="arg-type,call-arg"
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnspec.engines.cells.claims import PartProof
from nnspec.engines.cells.driver import BUDGET_NODES, FIRST_BUDGET, ROUND, Search, State
from nnspec.engines.cells.form import REACH, Form, make, sign_vectors
from nnspec.engines.cells.instance import Subtree
from nnspec.engines.cells.model import CellProblem
from nnspec.engines.cells.neurons import THRESHOLD
from nnspec.engines.cells.options import Options, merge, of_form
from nnspec.engines.cells.search_errors import BUDGET, Found, System, errors_of, multistart_errors, search_errors
from nnspec.engines.cells.supports import Support
from nnspec.engines.cells.tables import Table, of_table, tables
from nnspec.problem.forward import forward
from nnspec.problem.losses import evaluate
from nnspec.problem.problem import Point

OUTSIDE = 1e-9
"""By how much z may be outside of a box, in the units of its rows; the network is moved inside and evaluated again."""


def common_unit(cost: np.ndarray) -> float:
    """The largest number that all costs are multiples of, 0 if they are no integers."""
    if np.any(cost != np.round(cost)) or np.any(cost > 2**40):
        return 0.0
    return float(math.gcd(*(int(c) for c in cost)))


@dataclass(frozen=True, eq=False)
class Kernel:
    """Options and their compiled functions."""

    options: Options
    control: np.ndarray

    @property
    def system(self) -> System:
        o = self.options
        return System(o.first_option, o.first_row, o.side, o.digits, o.rows, o.rhs, o.target, o.common, o.reach,
                      o.alike, o.flip, o.cost)  # fmt: skip

    def misses(self, z: np.ndarray, members: np.ndarray) -> tuple[float, np.ndarray]:
        """(errors, infinite outside of the boxes; by how much each member is missed: > 0 where it is wrong)."""
        o, found = self.options, np.zeros(len(members))
        value = float(errors_of(self.system, members, z, found))
        inside = np.all(o.rows[o.common :] @ z >= o.rhs[o.common :] - OUTSIDE)
        return value if inside else np.inf, found

    def improve(self, members: np.ndarray, z: np.ndarray | None, starts: int, seed: int) -> tuple[float, np.ndarray]:
        best = np.zeros(self.options.size) if z is None else z.copy()
        incumbent = np.array([self.misses(best, members)[0]])
        multistart_errors(self.system, members, starts, seed, best, incumbent, self.control)
        return float(incumbent[0]), best


class ErrorsSearch(Search):
    """One set of options. State.theta and State.best are z."""

    def __init__(self, options: Options, gap: float, gap_absolute: float, threads: int, seed: int, **limits: Any
                 ) -> None:  # fmt: skip
        self.options = options
        super().__init__(options.digits.shape[1], gap, gap_absolute, threads, seed, **limits)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.errors = Kernel(self.options, self.control)
        self.enough = True
        self.unit = common_unit(self.options.cost)
        self.slack = max(self.gap_absolute, self.unit * (1.0 - 1e-6))

    def first(self) -> None:
        s = self.state
        everything = np.arange(self.options.samples)
        s.best_loss, s.best = self.errors.improve(everything, None, 60, self.seed)

    def grow_dolls(self) -> float:
        s = self.state
        everything = np.arange(self.options.samples)
        if s.best is None:
            self.first()
            self.tell(0.0)
        assert s.best is not None
        if s.theta is None:
            s.theta = s.best.copy()
        while True:
            self.check()
            if len(s.proven) > len(s.order):  # no subset is begun, else it goes on
                bound = s.proven[-1]
                top = self.top()
                if top <= self.gap_absolute or bound >= top - max(self.gap * top, self.slack):
                    return min(bound, s.best_loss) if bound < top else bound
                value, misses = self.errors.misses(s.theta, everything)
                if value < s.best_loss:
                    s.best_loss, s.best = value, s.theta.copy()
                misses[s.order] = -1.0
                cost = self.options.cost * (1.0 + np.clip(misses, 0.0, 1.0))
                new = int(np.argmax(np.where(misses > 0, cost, 0.0)))
                if misses[new] <= 0.0:  # right on all others: the best network of the doll is one of the whole
                    if len(s.order) == self.options.samples:
                        return bound
                    new = next(i for i in range(self.options.samples) if i not in s.order)
                s.order = [new, *s.order]
            s.proven.append(self.prove_doll(np.array(s.order)))
            s.proofs.append((len(s.order), s.proven[-1]))
            loss, z = self.errors.improve(everything, s.theta, 3, self.seed + len(s.order))
            if loss < s.best_loss:
                s.best_loss, s.best = loss, z
            self.tell(s.proven[-1])
            if s.proven[-1] > self.pause:
                self.finished = False
                return s.proven[-1]

    def top(self) -> float:
        """Only networks with fewer errors matter. A ceiling that is no multiple of the unit (since parts have prices)
        says the same as the next one."""
        ceiling = self.ceiling
        if self.unit > 0.0 and ceiling < np.inf:
            ceiling = self.unit * math.ceil(ceiling / self.unit - 1e-7)
        return min(self.state.best_loss, ceiling)

    def prove_doll(self, members: np.ndarray) -> float:
        """A lower bound for the samples `members`; state.theta becomes their best network."""
        s = self.state
        assert s.theta is not None
        known = s.proven[-1]
        proven = np.array([*s.proven, known])
        if s.open is None:
            _, s.theta = self.errors.improve(members, s.theta, 6, self.seed)
            s.open, s.floor = [Subtree(np.zeros((0, 2), dtype=np.int64), known)], np.inf
        incumbent = min(self.errors.misses(s.theta, members)[0], self.top())
        while s.open and self.cut(incumbent) > known:
            self.check()
            batch = s.open[:ROUND]
            # a search that goes on from a file works in the same steps
            budget = BUDGET_NODES if len(batch[0].prefix) else FIRST_BUDGET
            futures = [self.pool.submit(self.explore, members, proven, x, incumbent, budget) for x in batch]
            opened: list[Subtree] = []
            for loss, z, subtrees, low, nodes in [f.result() for f in futures]:
                opened += subtrees
                s.nodes += nodes
                s.floor = min(s.floor, low)
                if loss < incumbent:
                    incumbent, s.theta = loss, z
            s.open = opened + s.open[ROUND:]
            self.tell(max(known, self.doll_bound(incumbent)))
        s.open = []  # if anything is open, the incumbent is as good as what was known
        bound = self.doll_bound(incumbent)
        s.open = None
        return max(known, bound)

    def cut(self, incumbent: float) -> float:
        return incumbent - max(self.gap * incumbent, self.slack) if incumbent < np.inf else incumbent

    def doll_bound(self, incumbent: float) -> float:
        """Of the subset that is searched."""
        s = self.state
        assert s.open is not None
        least = min([x.bound for x in s.open] + [s.floor, self.cut(incumbent)])
        if self.unit > 0.0 and least < np.inf:  # they are multiples of it (1e-7: rounding of sums with other parts)
            least = self.unit * math.ceil(least / self.unit - 1e-7)
        return min(least, incumbent)

    def explore(self, members: np.ndarray, proven: np.ndarray, subtree: Subtree, loss: float, budget: int
                ) -> tuple[float, np.ndarray, list[Subtree], float, int]:  # fmt: skip
        """(errors, z, open subtrees, floor, nodes) of a visit to a subtree."""
        o, n = self.options, len(members)
        limit = (n + 2) * (int(np.diff(o.first_option).max()) + 1)
        found = Found(np.array([loss, -1.0]), np.zeros(o.size), np.zeros((limit, n + 1, 2), dtype=np.int64),
                      np.zeros(limit, dtype=np.int64), np.zeros(limit), np.zeros(5, dtype=np.int64),
                      np.array([np.inf]))  # fmt: skip
        left = []
        if search_errors(self.errors.system, members, proven, self.slack, self.gap, subtree.prefix, budget,
                         self.control, found) == BUDGET:  # fmt: skip
            for i in range(int(found.counts[4])):
                bound = max(float(found.open_bound[i]), subtree.bound)
                left.append(Subtree(found.open_prefix[i, : found.open_depth[i]].copy(), bound))
        return (float(found.incumbent[0]) if found.incumbent[1] >= 0 else np.inf, found.z, left,
                float(found.floor[0]), int(found.counts[0]))  # fmt: skip


@dataclass(eq=False)
class ErrorsPart:
    """The networks with fixed signs of the output weights, or with a table (`tables`); see `union.Part`."""

    whole: CellProblem  # with all samples, neurons and inputs
    form: Form
    problem: CellProblem  # each sample once
    unit: float
    table: Table | None
    search: Search
    bound: float = -np.inf
    support: Support | None = None

    def proof(self) -> PartProof:
        """What was proven, for an evidence file: raw samples for each of the problem's."""
        p, same = self.whole, []
        for i in range(len(self.problem.y)):
            inputs = p.x if self.problem.inputs is None else p.x[:, self.problem.inputs]
            equal = np.all(inputs == self.problem.x[i], axis=1) & (p.y == self.problem.y[i])
            same.append([int(j) for j in np.flatnonzero(equal)])
        state = self.search.state
        order = [j for i in state.order for j in same[i]]
        values = [(sum(len(same[i]) for i in state.order[-m:]), value) for m, value in state.proofs]
        signs = self.form.signs if self.support is None or self.support.used.any() else ()
        return PartProof([signs], order, values, self.support)

    def value(self, loss: float) -> float:
        return self.problem.offset + self.problem.scale * loss

    def loss(self, value: float) -> float:
        return (value - self.problem.offset) / self.problem.scale

    def point(self, state: State) -> Point | None:
        """The network of the incumbent. Where boxes leave it no more than the margin, several that differ by rounding
        are tried; the best one by the definition of the loss is taken."""
        if state.best is None:
            return None
        if self.table is not None:
            assert self.form.directions is not None
            own = state.best.reshape(self.table.neurons, -1)
            hidden = np.einsum("kdr,kr->kd", self.form.directions.weights, own)
            v = np.array(self.table.v)
            return self.problem.threshold_network(np.where(v < 0, -1.0, 1.0)[:, None] * hidden, v, self.table.c)
        z = self.larger(state.best) * self.unit
        candidates = [self.form.point(z)]
        if self.defined(candidates[0]) > state.best_loss:
            candidates.append(self.split_at_limits(z))
            candidates += [self.rounded(c) for c in candidates]
        return min(candidates, key=self.defined)

    def defined(self, point: Point) -> float:
        """The errors by the definition."""
        p = self.whole
        outputs = forward(p.network, point.parameters, p.x)
        return evaluate("errors", outputs, p.y, p.weights, margin=p.margin)

    def rounded(self, point: Point) -> Point:
        """Its weights with nine digits, within their boxes."""
        boxes = {p.name: (p.lo, p.hi) for p in self.whole.network.parameters}
        return Point({name: np.clip(np.round(value, 9), *boxes[name]) for name, value in point.parameters.items()}, {})

    def split_at_limits(self, z: np.ndarray) -> Point:
        """The network of z with output weights at the limits of their boxes, where they are finite."""
        f, p = self.form, self.problem
        weights = f.to_weights @ z
        theta = weights[:-1].reshape(p.neurons, -1)
        v = np.where(np.array(f.signs) > 0, p.out_hi, p.out_lo)
        if np.any(f.heights) or not np.all(np.isfinite(v)):
            return f.point(z)
        return p.direct_point(theta, np.where(np.any(theta != 0.0, axis=1), v, 0.0), float(weights[-1]) + f.level)

    def larger(self, z: np.ndarray) -> np.ndarray:
        """z times the largest of a few factors that the boxes allow: margins grow, and rounding matters less."""
        f = self.form
        if f.level != 0.0 or np.any(f.box_kappa > 0.0):  # a fixed output bias, or weight, does not grow with z
            return z
        for factor in (10.0, 2.0, 1.1, 1.001):
            if np.all(f.boxes @ (factor * z * self.unit) >= f.box_rhs):
                return factor * z
        return z

    def take(self, point: Point, value: float) -> None:
        """The incumbent of all parts is known to each."""


def parts(whole: CellProblem, problem: CellProblem, gap: float, gap_absolute: float, threads: int, seed: int,
          limits: dict[str, Any]) -> list[ErrorsPart]:  # fmt: skip
    """A part for each choice of signs or table. problem: `whole` or a restriction of it."""
    merged = merge(problem)
    unit = max(1.0, problem.margin)
    shown = replace(merged, kind="hinge", weights=np.ones(len(merged.y)))
    found = []

    def add(form: Form, table: Table | None, options: Options) -> None:
        search = ErrorsSearch(options, gap, gap_absolute / problem.scale, threads, seed, **limits)
        found.append(ErrorsPart(whole, form, merged, unit, table, search))

    if problem.activation.kind in THRESHOLD:
        form = make(shown, (1,) * problem.neurons)
        for table in tables(problem):
            add(form, table, of_table(table, form, merged))
    else:
        for signs in sign_vectors(problem):
            form = make(shown, signs)
            options = of_form(form, merged, unit)
            wide = np.where(form.reach >= REACH, REACH, form.reach / unit)
            add(form, None, replace(options, reach=wide))
    return found
