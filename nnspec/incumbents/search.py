"""First solutions: multi-start local search on the true network.

Rounds of many starts at once: fresh ones (hyperplanes laid through data points, several scales) and variations of the
best so far. Each start goes through L-BFGS in its box, with kinks and jumps smoothed at first; integer and finite
domains are rounded and searched coordinate by coordinate; budgets hold the smallest weights at zero and refit the
rest; side constraints enter by a growing penalty and a last step back to feasibility. The best are polished in their
activation cells. Nothing is returned that `nnspec.problem.evaluate` does not accept.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from nnspec.incumbents.cells import Cells, best_distinct, side_constraint
from nnspec.incumbents.lbfgs import minimise
from nnspec.incumbents.merit import Merit, kinds, walk
from nnspec.incumbents.support import Budget, budgets, objective_sizes, threshold
from nnspec.problem import evaluate
from nnspec.problem import expression as ex
from nnspec.problem.network import Network
from nnspec.problem.problem import Point, Problem
from nnspec.tolerances import GAP_ABSOLUTE

BATCH = 500
STARTS = 4000
_INFEASIBLE = 1e12
_FEASIBLE = 5e-7
_KINKED = {"sae", "mae", "max_error", "pinball", "hinge", "l1"}


def local_search(problem: Problem, seed: int = 0, starts: int | None = None, seconds: float | None = None,
                 keep: int = 10, first: tuple[Point, ...] = (), stop: threading.Event | None = None,
                 patience: int | None = None) -> list[Point]:  # fmt: skip
    """Feasible points of a problem, best first; at most `keep`, with different objectives.

    `starts` (default 4000, fewer for large networks) bounds the work, `seconds` the wall time, and with `patience` the
    search ends when that many starts, counted from the round of the best point, brought nothing better; without
    `seconds` the result depends on the seed alone.
    `first` are points to begin with besides the random ones. Problems without a network, to train or around which to
    decide, give []: those are the solver's.
    """
    if not problem.networks or not any(isinstance(e, ex.Loss | ex.Size | ex.NetworkOutput) for e in walk(problem)):
        return []
    search = _Search(problem, seed, seconds, stop)
    count = search.default_starts() if starts is None else starts
    with np.errstate(all="ignore"):
        search.rounds(count, first, patience)
        search.polish()
    return search.points(keep)


@dataclass
class _Pool:
    """The best points so far: coordinates, supports and merits, sorted."""

    z: np.ndarray
    f: np.ndarray = field(default_factory=lambda: np.zeros(0))
    most: int = 60

    def add(self, z: np.ndarray, f: np.ndarray) -> None:
        ok = np.isfinite(f)
        z, f = np.vstack([self.z, z[ok]]), np.concatenate([self.f, f[ok]])
        rounded = np.array([float(f"{v:.7e}") for v in f])
        _, index = np.unique(rounded, return_index=True)
        index = index[np.argsort(f[index], kind="stable")][: self.most]
        self.z, self.f = z[index], f[index]


class _Search:
    def __init__(self, problem: Problem, seed: int, seconds: float | None, stop: threading.Event | None):
        self.problem = problem
        self.merit = Merit(problem)
        self.c = self.merit.coordinates
        self.rng = np.random.default_rng(seed)
        self.deadline = time.monotonic() + seconds if seconds is not None else float("inf")
        self.stop = stop
        self.kinds = kinds(problem)
        self.budgets = budgets(self.c, problem)
        self.counted = objective_sizes(self.c, problem)
        self.discrete = self.c.discrete
        self.pool = _Pool(np.zeros((0, self.c.size)))
        self.steps = 150 if self.c.size <= 100 else 300
        self.stages = self._stages()
        samples = sum(d.samples for d in problem.data.values())
        self.enough = 12 * self.c.size * max(1, samples)  # few samples have few activation patterns

    def default_starts(self) -> int:
        """Enough for small networks; fewer where a start is expensive."""
        samples = sum(d.samples for d in self.problem.data.values()) or 1
        work = self.c.size * samples
        return int(np.clip(STARTS * 1000 / max(work, 1), 50, STARTS))

    def over(self) -> bool:
        return time.monotonic() > self.deadline or (self.stop is not None and self.stop.is_set())

    def nothing_better(self) -> bool:
        """Whether the best point has no loss and no penalty at all."""
        e = self.problem.objective.expression
        if e is None or not len(self.pool.f) or self.pool.f[0] > GAP_ABSOLUTE:
            return False
        constant, terms = ex.linear_terms(e)
        return constant == 0 and all(isinstance(t, ex.Loss | ex.Size) and k * self.merit.sign > 0 for k, t in terms)

    def _stages(self) -> list[dict]:
        """Smoothing and sharpness from the first stage to the last, which is the problem itself."""
        if self.kinds & {"sign", "step"}:
            stages = [{"eps": 0.3, "sharpness": 1.5}, {"eps": 0.1, "sharpness": 6.0}]
        elif "errors" in self.kinds:
            stages = [{"eps": 1.0}, {"eps": 0.1}]
        elif self.kinds & _KINKED:
            stages = [{"eps": 0.1}, {"eps": 1e-3}]
        else:
            stages = []
        return [*stages, {"eps": 1e-6 if self.kinds & _KINKED and not self.kinds & {"errors"} else 0.0}]

    # -- one round ---------------------------------------------------------------------------------------------

    def rounds(self, count: int, first: tuple[Point, ...], patience: int | None) -> None:
        done, improved, best = 0, 0, np.inf
        given = [self.c.vector(p) for p in first]
        if given:
            z = self.c.round(np.array(given))
            self.pool.add(z, self.score(z))
        while done < count and not (done and self.over()):
            size = min(BATCH, count - done)
            fresh = size if not len(self.pool.f) else max(1, size // 2)
            z = self.fresh(fresh)
            varied = size - fresh
            supports = np.abs(z) * self.rng.random(z.shape)
            if varied > 0:
                parents, z2 = self.varied(varied)
                z = np.vstack([z, z2])
                noise = self.rng.exponential(0.3, size=parents.shape)
                supports = np.vstack([supports, np.abs(parents) + noise * (np.abs(parents).max(axis=1, keepdims=True))])
            if given and not done:
                z[: len(given)] = given
            self.improve(z, supports, fresh)
            done += size
            if len(self.pool.f) and (np.isinf(best) or self.pool.f[0] < best - 1e-4 * abs(best)):
                improved, best = done - size, self.pool.f[0]
            if self.nothing_better():
                break
            if patience is not None and done - improved >= min(patience, self.enough):
                break
        if self.discrete.any() and not self.over():
            self.descend()

    def improve(self, z: np.ndarray, priority: np.ndarray, fresh: int) -> None:
        lo, hi = np.broadcast_to(self.c.lo, z.shape).copy(), np.broadcast_to(self.c.hi, z.shape).copy()
        allowed = threshold(self.c, self.limits(len(z)), priority)
        lo[~allowed], hi[~allowed] = 0.0, 0.0
        penalties = [10.0, 1e3, 1e5] if self.merit.constrained else [0.0]
        stages = self.stages
        for number, stage in enumerate(stages):
            part = slice(0, fresh) if number < len(stages) - 1 and "sharpness" in stage else slice(None)
            for penalty in penalties if number == len(stages) - 1 else penalties[:1]:
                merit = partial(self.merit.value, penalty=penalty, **stage)
                z[part], _ = minimise(merit, z[part], lo[part], hi[part], self.steps, 1e-6, self.deadline)
        if self.discrete.any():
            z = self.settle(z, lo, hi)
        self.finish(z, lo, hi)

    def limits(self, count: int) -> list[tuple[Budget, np.ndarray]]:
        """Budgets with their limits; sizes in the objective get random ones, below the best so far."""
        limits = [(b, np.full(count, b.most)) for b in self.budgets]
        for b in self.counted:
            total = int(b.cost.sum())
            limits.append((b, self.rng.integers(0, total + 1, size=count)))
        return limits

    def settle(self, z: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
        """Round integer and finite coordinates and refit the others."""
        z = np.clip(self.c.round(z), lo, hi)
        return z if self.discrete.all() else self.refit(z, self.steps)

    def refit(self, z: np.ndarray, steps: int) -> np.ndarray:
        """Optimise the real coordinates, the discrete ones and under budgets the zeros held."""
        lo, hi = np.broadcast_to(self.c.lo, z.shape).copy(), np.broadcast_to(self.c.hi, z.shape).copy()
        held = np.broadcast_to(self.discrete, z.shape) | ((z == 0) & bool(self.budgets))
        lo[held] = hi[held] = z[held]
        merit = partial(self.merit.value, penalty=1e3 if self.merit.constrained else 0.0, **self.stages[-1])
        return minimise(merit, z, lo, hi, steps, 1e-6)[0]

    def finish(self, z: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> None:
        """Back to feasibility where side constraints are violated; then into the pool."""
        if self.merit.constrained:
            off = self.merit.violation(z) > _FEASIBLE
            held_lo, held_hi = lo.copy(), hi.copy()
            held_lo[:, self.discrete] = held_hi[:, self.discrete] = z[:, self.discrete]
            if off.any():
                z[off], _ = minimise(lambda u: self.merit.value(u, penalty=1.0, objective=False), z[off], held_lo[off],
                                     held_hi[off], 60, 1e-12)  # fmt: skip
        self.pool.add(z, self.score(z))

    def score(self, z: np.ndarray) -> np.ndarray:
        """Merit of the problem itself; infeasible points after all feasible ones."""
        f = self.merit.value(z)[0]
        for b in self.budgets:
            f = np.where(_counts(b, z) > b.most, np.inf, f)
        if self.merit.constrained:
            v = self.merit.violation(z)
            f = np.where(v > _FEASIBLE, _INFEASIBLE * (1 + v), f)
        return f

    # -- starts ------------------------------------------------------------------------------------------------

    def fresh(self, count: int) -> np.ndarray:
        z = self.c.starts(count, self.rng)
        for network in self.problem.networks.values():
            if network.free:
                self._lay_through_data(network, z)
        known = ~np.isnan(self.c.known)
        if known.any():  # what was imported to be trained again: the first start keeps it, and every fourth
            z[np.ix_(np.arange(count) % 4 == 0, known)] = self.c.known[known]
        return self.c.round(z)

    def _lay_through_data(self, network: Network, z: np.ndarray) -> None:
        """Hidden weights of moderate size; hyperplanes of the first layer pass near a random sample."""
        data = [d.x for d in self.problem.data.values() if d.x.shape[1] == network.input_size]
        hidden = [x for x in network.layers if x.kind in ("dense", "conv") and x.name not in network.outputs]
        rows = self.rng.random(len(z)) < 0.8
        for layer in hidden:
            w, b = layer.weights, layer.bias
            if w is None or w.value is not None or w.kind != "real":
                continue
            fan = int(np.prod(w.shape[1:]))
            scale = self.rng.choice([0.5, 1.0, 2.0], size=(len(z), w.shape[0], *([1] * (len(w.shape) - 1))))
            weights = self.rng.normal(size=(len(z), *w.shape)) * scale / np.sqrt(fan)
            self._put(z, rows, w.name, weights)
            if b is None or b.value is not None:
                continue
            bias = 0.5 * self.rng.normal(size=(len(z), *b.shape))
            if data and layer.kind == "dense" and network[layer.inputs[0]].kind == "input":
                x = np.vstack(data)
                chosen = x[self.rng.integers(0, len(x), size=(len(z), w.shape[0]))]
                bias = -(weights * chosen).sum(axis=2) + 0.2 * bias
            self._put(z, rows, b.name, bias)

    def _put(self, z: np.ndarray, rows: np.ndarray, name: str, tensor: np.ndarray) -> None:
        a, b, _ = self.c.slices[name]
        live = self.c.signs[a:b] != 0
        columns = self.c.entries[a:b][live]
        values = (tensor.reshape(len(z), -1) * self.c.signs[a:b])[:, live]
        z[np.ix_(rows, columns)] = np.clip(values, self.c.lo[columns], self.c.hi[columns])[rows]

    def varied(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Parents drawn from the pool (better ones more often) and their variations."""
        rank = np.minimum(self.rng.geometric(0.1, size=count) - 1, len(self.pool.f) - 1)
        parents = self.pool.z[rank]
        z = parents.copy()
        spread = np.maximum(0.3, np.abs(parents))
        some = self.rng.random(z.shape) < self.rng.choice([0.2, 0.5, 1.0], size=(count, 1))
        z += some * self.rng.choice([0.05, 0.3, 1.0], size=(count, 1)) * spread * self.rng.normal(size=z.shape)
        other = self.fresh(count)
        for name, (a, b, shape) in self.c.slices.items():
            if name.endswith(".bias") or len(shape) < 2:
                continue
            bias = self.c.slices.get(name.removesuffix("weights") + "bias")
            swap = self.rng.random((count, shape[0])) < 0.15
            columns = self.c.entries[a:b].reshape(shape[0], -1)
            for unit in range(shape[0]):  # a fresh unit in place of an old one
                own = columns[unit] if bias is None else np.append(columns[unit], self.c.entries[bias[0] + unit])
                at = np.ix_(swap[:, unit], own)
                z[at] = other[at]
        return parents, np.clip(z, self.c.lo, self.c.hi)

    # -- integer and finite domains ------------------------------------------------------------------------------

    def descend(self) -> None:
        """Coordinate descent over the discrete coordinates of the best points, the others refitted."""
        columns = np.flatnonzero(self.discrete)
        for number in range(min(10, len(self.pool.f))):
            z, best = self.pool.z[number].copy(), self.pool.f[number]
            while not self.over():
                trial = self._moves(z, columns)
                if not len(trial):  # ties and bounds leave each discrete coordinate one value
                    break
                f = self.score(trial)
                if not self.discrete.all() and len(trial):
                    top = np.argsort(f, kind="stable")[:40]
                    trial = self.refit(trial[top], 60)
                    f = self.score(trial)
                if not len(f) or not f.min() < best - 1e-12 * abs(best):
                    break
                z, best = trial[f.argmin()], f.min()
            self.pool.add(z[None], np.array([best]))

    def _moves(self, z: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Neighbours of z: one discrete coordinate to the next value below or above, or two at random."""
        singles: list[tuple[int, float]] = []
        for j in columns:
            values = self.c.sets.get(int(j))
            options = values if values is not None and len(values) <= 6 else None
            if options is None and values is not None:
                at = int(np.abs(values - z[j]).argmin())
                options = values[max(0, at - 2) : at + 3]
            if options is None:
                options = np.array([z[j] - 2, z[j] - 1, z[j] + 1, z[j] + 2, 0.0])
            singles += [(int(j), float(v)) for v in options if v != z[j] and self.c.lo[j] <= v <= self.c.hi[j]]
        moves = np.repeat(z[None], len(singles), axis=0)
        for row, (j, v) in enumerate(singles):
            moves[row, j] = v
        if len(singles) > 1:
            pairs = np.repeat(z[None], min(400, len(singles) ** 2), axis=0)
            for row in range(len(pairs)):
                for pick in self.rng.integers(0, len(singles), size=2):
                    j, v = singles[pick]
                    pairs[row, j] = v
            moves = np.vstack([moves, pairs])
        return moves

    # -- the last digits -----------------------------------------------------------------------------------------

    def polish(self) -> None:
        """Local optima to the last digits for the best few: in their cells, by SLSQP, or by more steps."""
        if self.kinds & {"errors"} or self.counted or self.nothing_better():
            return
        cells = Cells(self.merit)
        walks = cells.applies and not self.budgets and not self.merit.constrained
        flips = 0 if len(cells.hidden) > 1 or self.kinds & _KINKED else 12  # with slacks or in depth a step is dear
        chosen = best_distinct(self.pool.z, self.pool.f, 2)
        for rank, number in enumerate(chosen):
            z = self.pool.z[number]
            if self.over():
                return
            if walks:
                z, _ = cells.walk(z, self.deadline, flips if rank == 0 else 0)
                self.pool.add(z[None], self.score(z[None]))
                continue
            lo, hi = self.c.lo.copy(), self.c.hi.copy()
            fixed = self.discrete | ((z == 0) & bool(self.budgets))
            lo[fixed] = hi[fixed] = z[fixed]
            if self.merit.constrained and self.c.size <= 200 and not self.kinds & {"sign", "step"}:
                z = self._slsqp(z, lo, hi)
            else:
                z = minimise(lambda u: self.merit.value(u), z[None], lo[None], hi[None], 500, 1e-13)[0][0]
            self.pool.add(z[None], self.score(z[None]))

    def _slsqp(self, z: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
        from scipy.optimize import minimize

        rows = [side_constraint(self.merit, i, self.c.size) for i in range(len(self.problem.constraints))]

        def value(u: np.ndarray) -> tuple[float, np.ndarray]:
            f, g = self.merit.value(u[None])
            return float(f[0]), g[0]

        found = minimize(value, z, jac=True, bounds=list(zip(lo, hi)), constraints=rows, method="SLSQP",
                         options={"maxiter": 100, "ftol": 1e-12})  # fmt: skip
        return np.clip(found.x, lo, hi) if np.all(np.isfinite(found.x)) else z

    def points(self, keep: int) -> list[Point]:
        """Accepted points in the order of their objective, as the judge has it."""
        scored: list[tuple[float, Point]] = []
        for z in self.pool.z:
            point = self.c.point(z)
            if not evaluate.violations(self.problem, point):
                scored.append((self.merit.sign * evaluate.objective(self.problem, point), point))
            if len(scored) >= 3 * keep:
                break
        scored.sort(key=lambda item: item[0])
        return [p for _, p in scored[:keep]]


def _counts(b: Budget, z: np.ndarray) -> np.ndarray:
    """How much of a budget points (S, P) use."""
    used = np.zeros(len(z), dtype=int)
    for g in np.unique(b.group[b.group >= 0]):
        columns = np.flatnonzero(b.group == g)
        nonzero = z[:, columns] != 0
        used += np.where(nonzero.any(axis=1), b.cost[columns].max(), 0)
    return used
