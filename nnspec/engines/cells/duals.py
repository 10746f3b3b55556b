"""Certificates for evidence files from the compiled interior-point method.

The training problem of a node in normalised units (inputs centred and of size 1, targets likewise) is a problem of
`interior`: rows for losses, penalties, the pattern's inequalities and boxes. Its multipliers become those of
`proof.bounds`, in the problem's units; multipliers of boxes are left out, since the verifier finds the best ones.
Neurons of an orbit share its unknowns, as in `unknowns`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnspec.engines.cells.interior import STUCK
from nnspec.engines.cells.interior import minimise as linked_minimise
from nnspec.engines.cells.model import SQUARED, CellProblem
from nnspec.engines.cells.proof.bounds import Signs
from nnspec.engines.cells.proof.orbits import Limit, Orbit
from nnspec.engines.cells.proof.training import HOMOGENEOUS, REACH, THRESHOLD
from nnspec.engines.cells.proof.tree import Path, Prover

minimise: Any = linked_minimise.dispatcher

Pieces = list[tuple[int, tuple[int, ...]]]  # a path's samples that are not given up

STEEP = (1e4, np.inf)
"""Largest multipliers, per sample, of boxes that do not contain 0: see `form.STEEP`. The second is tried where the
method does not get on."""

CUTS = 40
"""Rounds of cuts for norms that the interior-point method does not get on with."""

CLOSE = (1e-8, 1e-6, 1e-4)
"""How close, relative, these rounds are solved, one after the other while rounding spoils the last steps."""

EQUATION = 1e-10
"""kappa of the rows of equations, see `form.FIXED`."""


class Duals:
    """Certificates for the nodes of one part."""

    def __init__(self, cells: CellProblem, prover: Prover) -> None:
        self.prover, self.cells = prover, cells.untied or cells
        t = prover.bounds.problem
        self.orbits, self.free = prover.bounds.orbits, [np.array(f) for f in prover.bounds.free]
        self.threshold, self.tanh = t.activation in THRESHOLD, t.activation == "hardtanh"
        self.largest, self.squares = t.kind == "max_error", t.loss.beta != 0
        low, high = prover.bounds.c_range
        self.constant = low is None or low != high  # c is an unknown
        self.unit, self.level = float(t.unit) / REACH, float(t.level) if low is None or low != high else float(low)
        self.decays = prover.bounds.constant_decay > 0 and self.constant  # c does
        self.tall = [t.activation in HOMOGENEOUS and orbit.apart for orbit in self.orbits]  # |n| is one besides
        self.shift, self.width = np.array([float(v) for v in t.shift]), np.array([float(v) for v in t.width])
        self.errors = t.kind == "errors"  # certificates are those of a hinge, with all samples alike
        weights = np.ones(t.samples) if self.errors else np.array([float(w) for w in t.weights])
        self.top = float(weights.max())
        self.weights = weights / self.top
        self.target = np.array([float(v) for v in t.target])
        self.factor = np.array([float(v) for v in t.factor])
        self.y = (self.target - self.factor * self.level) / self.unit
        power = 2 if self.squares else 1
        self.scale = self.unit**power * self.top  # raw loss = scale * (loss here)
        self.alpha = float(t.loss.alpha)
        self.u_lo, self.u_hi = (self._inward(v, s) for v, s in ((t.loss.lo, 1), (t.loss.hi, -1)))
        self._neurons()
        self._losses()

    @staticmethod
    def _inward(limit: Any, s: int) -> float:
        """A limit as a float that is not beyond it."""
        if limit is None:
            return -s * np.inf
        near = float(limit)
        return near if s * (near - limit) >= 0 else float(np.nextafter(near, s * np.inf))

    def _neurons(self) -> None:
        """features (pieces, N, P) and cuts (N, cuts, P) of each neuron; theta (D, P), |n| times t, and height (P,), n
        with its sign, of each orbit: forms of the P unknowns z."""
        n, start = len(self.cells.x), 0
        t = self.prover.bounds.problem
        parts = [self._basis(orbit, free, tall)
                 for orbit, free, tall in zip(self.orbits, self.free, self.tall, strict=True)]  # fmt: skip
        size = sum(own[0].shape[1] for own, _, _ in parts)
        self.size = max(1, size + self.constant + self.largest)
        self.c = size if self.constant else -1
        self.e = size + self.constant if self.largest else -1  # the largest error
        self.reach = np.full(self.size, float(REACH))
        self.features, self.cuts, self.theta, self.height = [], [], [], []

        def wide(a: np.ndarray, place: slice) -> np.ndarray:
            whole = np.zeros((*a.shape[:-1], self.size))
            whole[..., place] = a
            return whole

        low = -1.0 if t.activation == "sign" else 0.0
        slope = {"relu": 0.0, "abs": -1.0}.get(t.activation, float(t.alpha))
        x = (self.cells.x - self.shift) / self.width
        inputs = np.hstack([x, np.ones((n, 1))])
        for orbit, (own, theta, height) in zip(self.orbits, parts, strict=True):
            place = slice(start, start + own[0].shape[1])
            start = place.stop
            self.theta.append(wide(theta, place))
            self.height.append(wide(height, place))
            for m, (one, e) in enumerate(zip(own, orbit.turned, strict=True)):
                up = np.ones((n, 1)) * (e * height / self.unit)
                if self.threshold:
                    self.features.append(wide(np.stack([low * up, up]), place))
                    self.cuts.append(np.zeros((n, 1, self.size)))
                    continue
                row = e * inputs @ one
                row[~np.any(self._raw(orbit, m)[:, self.free[len(self.theta) - 1]], axis=1)] = 0.0  # not nearly
                if self.tanh:
                    self.features.append(wide(np.stack([-up, row, up]), place))
                    self.cuts.append(wide(np.stack([row + up, row - up], axis=1), place))
                else:
                    self.features.append(wide(np.stack([slope * row, row]), place))
                    self.cuts.append(wide(row[:, None, :], place))

    def _raw(self, orbit: Orbit, m: int) -> np.ndarray:
        """(N, D): what member m's forms (x, 1) are in the orbit's weights."""
        raw = np.zeros((len(self.cells.x), orbit.columns))
        for row, (place, sign) in zip([*self.cells.x.T, np.ones(len(raw))], orbit.places[m], strict=True):
            raw[:, place] += sign * row
        return raw

    def _basis(self, orbit: Orbit, free: np.ndarray, tall: bool) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """n times (w, b) of each member of an orbit in normalised units, n t and n, as forms of unknowns of size 1."""
        d = len(self.width)
        if self.threshold:
            return [np.zeros((d + 1, 1))] * len(orbit.members), np.zeros((orbit.columns, 1)), np.array([self.unit])
        to_own = np.zeros((d + 1, d + 1))  # normalised (w, b) of the problem's
        to_own[:d, :d] = np.diag(self.width / self.unit)
        to_own[d] = np.append(self.shift, 1.0) / self.unit
        columns = np.flatnonzero(free)
        own = []
        for places in orbit.places:
            m = np.zeros((d + 1, orbit.columns))
            for i, (place, sign) in enumerate(places):
                m[i, place] += sign
            own.append(to_own @ m[:, columns])
        explicit = int(tall or self.tanh)
        stacked = np.vstack(own)
        rows = stacked[np.any(stacked != 0.0, axis=1)]
        if rows.shape[0] == rows.shape[1]:  # nothing is shared or missing
            back = np.linalg.inv(rows)
        else:
            _, values, vt = np.linalg.svd(rows, full_matrices=False)
            back = vt.T / values * np.sqrt(len(own))
        theta = np.zeros((orbit.columns, len(columns) + explicit))
        theta[columns, : len(columns)] = back
        height = np.zeros(theta.shape[1])
        if explicit:
            height[-1] = self.unit
        return [np.hstack([m @ back, np.zeros((d + 1, explicit))]) for m in own], theta, height


    def _losses(self) -> None:
        """lo, hi, kappa of each sample's row."""
        w, kind, n = self.weights, self.cells.kind, len(self.weights)
        with np.errstate(invalid="ignore"):
            if self.squares:
                per = 2.0 if self.alpha == 2.0 else 1.0
                delta = float(self.prover.bounds.problem.delta) / self.unit
                lo, hi = (-delta, delta) if kind == "huber" else (0.0 if kind not in SQUARED else -np.inf, np.inf)
                self.lo, self.hi, self.kappa = w * lo, w * hi, 1.0 / (per * w)
            else:
                u_hi = 1.0 if self.errors else self.u_hi
                self.lo, self.hi, self.kappa = w * self.u_lo, w * u_hi, np.zeros(n)

    def rows(self, path: Pieces) -> np.ndarray:
        """The outputs' rows of the path's samples, with their factors."""
        a = np.zeros((len(path), self.size))
        if not path:
            return a
        index = np.array([i for i, _ in path])
        for k, features in enumerate(self.features):
            a += features[np.array([choice[k] for _, choice in path]), index]
        if self.c >= 0:
            a[:, self.c] = 1.0
        return a * self.factor[index][:, None]

    def pattern(self, path: Pieces, signs: Signs) -> tuple[np.ndarray, list[tuple[int, int, int]], np.ndarray]:
        """Rows of size 1 that are >= 0 on the path's networks, their names (neuron, step, cut), and their sizes."""
        rows, names = [], []
        if not self.threshold:
            for k, (o, m) in enumerate(self.prover.bounds.neurons):
                s = signs[o] * self.orbits[o].turned[m]
                for t, (i, choice) in enumerate(path):
                    piece = choice[k]
                    for c in range(max(piece - 1, 0), min(piece + 1, self.cuts[k].shape[1])):
                        rows.append(self.cuts[k][i, c] * (s if piece > c else -s))
                        names.append((k, t, c))
        a = np.array(rows).reshape(-1, self.size)
        size = np.linalg.norm(a, axis=1)
        keep = size > 0
        return a[keep] / size[keep, None], [n for n, ok in zip(names, keep, strict=True) if ok], size[keep]

    def boxes(self, signs: Signs | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of size 1 and right-hand sides of boxes, and which are equations; without signs what holds for all."""
        rows: list[np.ndarray] = []
        rhs: list[float] = []
        equal: list[bool] = []

        def bound(form: np.ndarray, low: float, high: float) -> None:
            norm = float(np.linalg.norm(form))
            for s, limit in ((1.0, low), (-1.0, -high)):
                if norm > 0.0 and limit > -np.inf and not (low == high and s < 0.0):
                    rows.append(s * form / norm)
                    rhs.append(limit / norm)
                    equal.append(low == high)

        for o, orbit in enumerate(self.orbits):
            if self.threshold:
                bound(self.height[o], *_ends(orbit.out_lo, orbit.out_hi))
                continue
            if signs is None:
                continue
            s, explicit = signs[o], self.tanh or self.tall[o]
            least, most = (np.inf if v is None else float(v) for v in orbit.size(s))
            height = s * self.height[o]  # |n|
            if explicit:
                bound(height, least, most)
            for column in np.flatnonzero(self.free[o]):
                low, high = _ends(orbit.lo[column], orbit.hi[column])
                form = s * self.theta[o][column]
                if low == high and explicit:
                    bound(form - low * height, 0.0, 0.0)
                elif explicit:
                    for side, limit in ((1.0, low), (-1.0, high)):
                        if np.isfinite(limit):
                            bound(side * (form - limit * height), 0.0, np.inf)
                else:
                    bound(form, *(0.0 if v == 0.0 or most == 0.0 else most * v for v in (low, high)))
        if self.c >= 0:
            form = np.zeros(self.size)
            form[self.c] = self.unit
            low, high = _ends(*self.prover.bounds.c_range)
            bound(form, low - self.level, high - self.level)
        return np.array(rows).reshape(-1, self.size), np.array(rhs), np.array(equal, dtype=bool)

    def penalty(self) -> tuple[list[np.ndarray], list[float], list[tuple[np.ndarray, float, float]]]:
        """(blocks, nu, rows (a, y, kappa)) of the penalty; blocks of all neurons have the decayed weights' rows."""
        decay, blocks, nu, rows = self.cells.decay, [], [], []
        if decay is None:
            return [], [], []
        own = [self._decay_of(orbit) for orbit in self.orbits]
        width = max((int(np.count_nonzero(hidden)) for hidden, _ in own), default=0)
        for o, (hidden, output) in enumerate(own):
            if self.threshold or self.tanh:
                if output > 0:
                    rows.append((self.height[o] / self.unit, 0.0, 0.5 * self.scale / (output * self.unit**2)))
                continue
            if self.tall[o]:
                fixed = self.orbits[o].fixed
                if fixed is not None:
                    factor = 0.5 * self.scale * float(fixed) ** 2 / self.unit**2
                    rows += [(self.theta[o][j] / self.unit, 0.0, factor / hidden[j])
                             for j in np.flatnonzero((hidden > 0) & self.free[o])]  # fmt: skip
                elif output > 0:
                    rows.append((self.height[o] / self.unit, 0.0, 0.5 * self.scale / (output * self.unit**2)))
                continue
            if output == 0.0 or not hidden.any():
                continue
            block = np.zeros((width, self.size))
            block[: np.count_nonzero(hidden)] = np.sqrt(hidden[hidden > 0])[:, None] * self.theta[o][hidden > 0]
            size = max(float(np.abs(block).max()), 1e-300)
            blocks.append(block / size)
            nu.append(2.0 * np.sqrt(output) * size / self.scale)
        if self.decays:
            row = np.zeros(self.size)
            row[self.c] = -1.0
            rows.append((row, self.level / self.unit, 0.5 * self.scale / (decay.constant * self.unit**2)))
        return blocks, nu, rows

    @property
    def always(self) -> float:
        """What the penalty is at every node."""
        fixed = self.cells.decay is not None and self.prover.bounds.constant_decay and self.c < 0
        constant = self.cells.decay.constant * self.level**2 if fixed and self.cells.decay is not None else 0.0
        return float(self.prover.bounds.idle) + constant

    @staticmethod
    def _decay_of(orbit: Orbit) -> tuple[np.ndarray, float]:
        return np.array([float(p) for p in orbit.hidden_decay]), float(orbit.output_decay)

    def certificate(self, whole: Path, signs: Signs | None, with_penalty: bool, need: float, leaf: bool, closer: float
                    ) -> tuple[list | None, np.ndarray]:  # type: ignore[type-arg] # fmt: skip
        """([u, mu, penalty] of `proof.bounds` that should prove `need`, or None; the z where the method ended)."""
        steps = [t for t, (_, choice) in enumerate(whole) if choice is not None]
        path = [(i, choice) for i, choice in whole if choice is not None]
        losses = self.rows(path)
        n = len(path)
        index = np.array([i for i, _ in path], dtype=int)
        y = self.y[index]
        pattern, names, sizes = self.pattern(path, signs) if signs is not None else (np.zeros((0, self.size)), [], [])
        boxes, box_rhs, equal = self.boxes(signs)
        blocks, nu, extra = self.penalty() if with_penalty else ([], [], [])
        zeros, inf = np.zeros, np.inf
        if self.largest:  # e >= +-r, and max(0, e) is minimised
            up, down = losses.copy(), -losses
            up[:, self.e] = down[:, self.e] = 1.0
            e = zeros((1, self.size))
            e[0, self.e] = -1.0
            a = [up, down, e]
            ys, los = [y, -y, zeros(1)], [zeros(2 * n + 1)]
            his, kappas = [np.append(np.full(2 * n, inf), 1.0)], [zeros(2 * n + 1)]
        else:
            a, ys, los, his, kappas = [losses], [y], [self.lo[index]], [self.hi[index]], [self.kappa[index]]
        head = sum(len(part) for part in a)
        for row, target, kappa in extra:
            a.append(row[None])
            ys.append(np.array([target]))
            los.append(np.array([-inf]))
            his.append(np.array([inf]))
            kappas.append(np.array([kappa]))
        a += [pattern, boxes]
        rows = np.ascontiguousarray(np.vstack(a))
        goals = np.concatenate([*ys, zeros(len(pattern)), box_rhs])
        los += [zeros(len(pattern)), np.where(equal, -inf, 0.0)]
        his += [np.full(len(pattern), inf), np.full(len(boxes), inf)]
        lo, hi = np.concatenate(los), np.concatenate(his)
        away = len(hi) - len(boxes) + np.flatnonzero((box_rhs > 0.0) & ~equal)
        kappas += [zeros(len(pattern)), np.where(equal, EQUATION, 0.0)]
        kappa_all = np.concatenate(kappas)
        m = len(goals)
        norms = np.array(blocks).reshape(len(blocks), -1 if blocks else 1, self.size)
        wanted = need / self.scale
        if with_penalty:
            wanted -= self.always / self.scale
        lower, q, rho = 1e-9 * np.eye(self.size), zeros(self.size), np.array(nu, dtype=float)
        z, u, g = zeros(self.size), zeros(m), zeros(norms.shape[:2])
        cutoff, goal = wanted + closer * max(abs(wanted), 1e-4), 1e-9 if leaf or closer > 1e-6 else -0.02
        for steep in STEEP:
            hi[away] = steep * max(n, 1)
            status, bound = minimise(self.size, lower, q, 0.0, rows, goals, lo, hi, kappa_all, m, norms, rho,
                                     self.reach, cutoff, goal, z, u, g, zeros(self.size))  # fmt: skip
            if status != STUCK or not len(away):
                break
        if status == STUCK and len(rho) and bound < wanted:
            bound, z, u, g = self._by_cuts(rows, goals, lo, hi, kappa_all, norms, rho, z, cutoff)
        if bound < wanted - 1e-6 * abs(wanted) - 1e-12 or not np.all(np.isfinite(u)):
            return None, z
        u = self._balanced(rows, goals, lo, hi, kappa_all, u, norms, g, self.reach)
        u_loss, first = self._losses_raw(u, n, index), head + len(extra)
        mu = self.scale * u[first : first + len(pattern)] / (self.unit * np.array(sizes))
        named = [[k, steps[t], c, float(v)] for (k, t, c), v in zip(names, mu, strict=True) if v > 0.0]
        if len(path) < len(whole):
            given = dict(zip(steps, u_loss, strict=True))
            u_loss = [given.get(t, 0.0) for t in range(len(whole))]
        penalty = self._penalty_raw(u[head : head + len(extra)], g, rho) if with_penalty else None
        return [u_loss, named, penalty], z

    def _by_cuts(self, rows: np.ndarray, y: np.ndarray, lo: np.ndarray, hi: np.ndarray, kappa: np.ndarray,
                 norms: np.ndarray, nu: np.ndarray, near: np.ndarray, cutoff: float
                 ) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
        """(bound, z, u, g) by Kelley's cutting planes (1960), where the interior-point method does not get on with
        norms: nu |B z| is the least nu t with t >= c.B z for all |c| = 1, of which few are needed. g is sum u c."""
        count, size, width = len(nu), self.size, norms.shape[1]
        cuts = [(b, sign * c) for b in range(count) for c in np.eye(width) for sign in (1.0, -1.0)]
        cuts += [(b, v / np.linalg.norm(v)) for b in range(count) if np.any(v := norms[b] @ near)]
        reach = np.append(self.reach, np.full(count, float(self.reach.max()) * max(1.0, np.abs(norms).sum())))
        zeros = np.zeros
        best = (-np.inf, near, zeros(len(y)), zeros(norms.shape[:2]))
        for _ in range(CUTS):
            a = zeros((len(rows) + len(cuts) + count, size + count))
            a[: len(rows), :size] = rows
            for row, (b, c) in zip(a[len(rows) :], cuts, strict=False):
                row[:size], row[size + b] = -c @ norms[b], 1.0
            a[len(rows) + len(cuts) :, size:] = -np.eye(count)
            more = len(cuts) + count
            u, z = zeros(len(a)), zeros(size + count)  # z: of the best bound
            ys, los, kappas = (np.append(v, zeros(more)) for v in (y, lo, kappa))
            his = np.concatenate([hi, np.full(len(cuts), np.inf), nu])
            none = zeros((0, 1, size + count)), zeros((0, 1))
            for close in CLOSE:
                _, bound = minimise(size + count, 1e-9 * np.eye(size + count), zeros(size + count), 0.0, a, ys, los,
                                    his, kappas, len(a), none[0], zeros(0), reach, cutoff, close, z.copy(), u, none[1],
                                    z)  # fmt: skip
                if np.all(np.isfinite(u)):
                    break
            else:
                break
            u = self._balanced(a, ys, los, his, kappas, u, *none, reach)
            g = zeros(norms.shape[:2])
            for (b, c), v in zip(cuts, u[len(rows) :], strict=False):
                g[b] += v * c
            if bound > best[0]:
                best = (bound, z[:size], u[: len(rows)], g)
            values = np.array([norms[b] @ z[:size] for b in range(count)])
            missing = nu * (np.linalg.norm(values, axis=1) - z[size:])
            if best[0] >= cutoff or missing.sum() <= CLOSE[0] * (1.0 + abs(bound)):
                break
            found = [v / np.linalg.norm(v) for v in values[missing > 0.0]]
            cuts += [(b, c) for b in range(count) for c in found]
        return best

    def _balanced(self, rows: np.ndarray, y: np.ndarray, lo: np.ndarray, hi: np.ndarray, kappa: np.ndarray,
                  u: np.ndarray, norms: np.ndarray, g: np.ndarray, reach: np.ndarray) -> np.ndarray:  # fmt: skip
        """u, or what it becomes when it is moved within its bounds so that the linear form of the bound vanishes, least
        where there is little room; whichever has the better bound."""

        def bound(v: np.ndarray) -> float:
            return float(v @ y - 0.5 * kappa @ (v * v) - np.abs(form - rows.T @ v) @ reach)

        form = np.einsum("bij,bi->j", norms, g)
        best, moved = u, u.copy()
        for _ in range(6):
            room = np.minimum(np.minimum(moved - lo, hi - moved), 1.0)
            move = room * np.linalg.lstsq((rows * room[:, None]).T, form - rows.T @ moved, rcond=1e-14)[0]
            moved = moved + np.clip(move, -0.5 * room, 0.5 * room)
            if bound(moved) > bound(best):
                best = moved.copy()
        return best

    def _losses_raw(self, u: np.ndarray, n: int, index: np.ndarray) -> list[float]:
        if self.largest:
            both = u[:n] - u[n : 2 * n]
            total = float(np.abs(both).sum())
            both = both * ((1.0 - 1e-15 * (n + 1)) / total) if total > 1.0 - 1e-15 * (n + 1) else both
            return [float(v) for v in both]
        raw = u[:n] / self.weights[index]
        if self.squares:
            raw = self.unit * raw / self.alpha
        return [float(v) for v in np.clip(raw, self.u_lo, self.u_hi)]

    def _penalty_raw(self, u: np.ndarray, g: np.ndarray, nu: np.ndarray) -> list:  # type: ignore[type-arg]
        decay = self.cells.decay
        assert decay is not None
        constant, neurons = self.level, []
        values, norms_left = list(u), list(zip(g, nu, strict=True))
        for orbit, free in zip(self.orbits, self.free, strict=True):
            hidden, output = self._decay_of(orbit)
            if self.threshold or self.tanh:
                a = -0.5 * self.scale / (output * self.unit) * values.pop(0) if output > 0 else 0.0
                neurons.append([float(a)])
                continue
            if orbit.apart:
                own = np.zeros(len(hidden) + 1)
                if orbit.fixed is not None:
                    for j in np.flatnonzero((hidden > 0) & free):
                        own[j] = -0.5 * self.scale / (hidden[j] * self.unit) * values.pop(0)
                elif output > 0:
                    own[-1] = -0.5 * self.scale / (output * self.unit) * values.pop(0)
                neurons.append([float(v) for v in own])
                continue
            inside, one = hidden > 0, np.zeros(len(hidden))
            if output > 0 and inside.any():
                own, most = norms_left.pop(0)
                size = most * self.scale / (2.0 * np.sqrt(output))
                one[inside] = self.scale * own[: np.count_nonzero(inside)] / (2.0 * np.sqrt(hidden[inside]) * size)
                square = float(np.sum(hidden * one**2))
                if square > output * (1.0 - 1e-14):
                    one *= np.sqrt(output / square) * (1.0 - 1e-14)
            neurons.append([float(v) for v in one])
        if self.decays:
            constant = float(0.5 * self.scale / (decay.constant * self.unit) * values.pop(0))
        return [neurons, constant]

    def misses(self, samples: list[int], z: np.ndarray, signs: Signs) -> np.ndarray:
        """By how much the network of z misses each sample's margin; step and sign neurons, of which z does not say on
        which side a sample is, have the best one."""
        if self.threshold:
            return self.least_losses(samples, z)
        index = np.array(samples)
        outputs = np.zeros(len(samples))
        for k, (o, m) in enumerate(self.prover.bounds.neurons):
            sides = signs[o] * self.orbits[o].turned[m] * (self.cuts[k][index] @ z)
            pieces = (sides >= 0.0).sum(axis=1)
            outputs += self.features[k][pieces, index] @ z
        if self.c >= 0:
            outputs += z[self.c]
        return np.asarray(self.y[index] - self.factor[index] * outputs)

    def least_losses(self, samples: list[int], z: np.ndarray) -> np.ndarray:
        """For each sample the loss at z (up to a factor) with the pieces that fit it best."""
        index = np.array(samples)
        outputs = np.zeros((len(samples), 1))
        for features in self.features:
            own = (features[:, index] @ z).T  # (samples, pieces)
            outputs = (outputs[:, :, None] + own[:, None, :]).reshape(len(samples), -1)
        if self.c >= 0:
            outputs = outputs + z[self.c]
        r = self.y[index, None] - self.factor[index, None] * outputs
        lo, hi = self.lo[index, None], self.hi[index, None]
        loss = np.where(r > 0, np.where(hi > 0, r, 0.0), np.where(lo < 0, -r, 0.0))
        return np.asarray((self.weights[index, None] * loss).min(axis=1))


def _ends(low: Limit, high: Limit) -> tuple[float, float]:
    return -np.inf if low is None else float(low), np.inf if high is None else float(high)
