"""The convex program over all activation patterns: a lower bound for networks with weight decay, of whatever width.

With the scale removed (`decay`) the problem is  min L(f) + lam sum_k |u_k|  over f = sum_k s_k relu(w_k.x + b_k) + c,
where u_k is w_k, or (w_k, b_k) if biases decay too. Without a bound on the number of neurons it is convex, a group
lasso with one group for each sign and activation pattern (Pilanci and Ergen, Neural networks are convex regularizers,
2020). Its value bounds networks of every width, and those with output weights of one sign if only that sign takes part.

Bound. For any z in R^N and L(f) = sum_i m_i (f_i - y_i)^2, convexity gives
    L(f) >= z.f - sum_i (z_i y_i + z_i^2 / (4 m_i)).
If  -s z.relu(Xw + b) <= lam |u| + e  for all neurons in their boxes and all signs s that occur, then
    optimum >= - sum_i (z_i y_i + z_i^2 / (4 m_i)) + min over c of (c sum z + penalty(c)) - H e.
The condition is checked pattern by pattern: while the signs t_i of w.x_i + b stay, the left side is linear, g.(w, b),
and for all mu >= 0 it is at most |(g + sum_i mu_i t_i (x_i, 1))_u| |u| on the pattern's cone (plus B times what is left
of the component of b, if biases do not decay but are bounded by B). Such mu come from nonnegative least squares; any
will do, so rounding does no harm, and z is scaled down by what is over lam.

Patterns. After projection to the affine hull of the data every cell of the arrangement touches a hyperplane through d
affinely independent points, the other points' signs are those of the hyperplane, and its own points take any signs.
Points on it by degeneracy take any signs too; that may list patterns that no hyperplane realises, which is harmless:
on its cone, even if that is only a face, a pattern's linear piece is the function.

z comes from column generation: neurons that violate the condition most are added, and the lasso over the neurons found
is solved by an active-set method. Its solution is a network; if it needs no more neurons than allowed, it is optimal.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, fields, replace

import numpy as np

MAX_PATTERNS = 1000  # a bound takes about a second then
MAX_ON_PLANE = 10  # points on one hyperplane whose signs are tried in all combinations
ROUNDS = 40
ON_PLANE = 1e-9  # distance, relative to the size of the data, at which a point counts as on a hyperplane
CLOSED = 1e-7  # relative gap at which column generation ends


@dataclass(frozen=True, eq=False)
class Wide:
    """min sum m (f - y)^2 + factor * sum |u_k| + output_penalty c^2 over neurons with the given output signs.

    `x` (N, d), `y` (N,), `m` (N,); `biases`: "decayed", "free" (within +-reach) or "none"; `output` the box of c;
    `width` the number of neurons.
    """

    x: np.ndarray
    y: np.ndarray
    m: np.ndarray
    factor: float
    biases: str
    reach: float
    output: tuple[float, float]
    output_penalty: float
    width: int
    slope: float = 0.0  # of the activation for negative arguments


def affine_hull(x: np.ndarray) -> np.ndarray:
    """The data in orthonormal coordinates of their affine hull, (N, rank)."""
    centred = x - x.mean(axis=0)
    _, s, vt = np.linalg.svd(centred, full_matrices=False)
    rank = int(np.sum(s > 1e-10 * max(1.0, float(s.max(initial=0.0)))))
    return centred @ vt[:rank].T


def patterns(points: np.ndarray, affine: bool) -> np.ndarray | None:
    """Sign patterns (n, N), entries +-1, that contain all those of hyperplanes w.x + b (through 0 unless `affine`)."""
    n = len(points)
    if affine:
        points = np.hstack([affine_hull(points), np.ones((n, 1))])
    else:
        _, s, vt = np.linalg.svd(points, full_matrices=False)
        points = points @ vt[: int(np.sum(s > 1e-10 * max(1.0, float(s.max(initial=0.0)))))].T
    k = points.shape[1]
    if k == 0:  # all points are 0, and a hyperplane through 0 has them on it
        return np.ones((1, n))
    if math.comb(n, k - 1) * 2**k > 16 * MAX_PATTERNS:
        return None
    scale = np.linalg.norm(points, axis=1).max(initial=1e-300)
    found: set[bytes] = set()
    for chosen in itertools.combinations(range(n), k - 1):
        if k == 1:
            normal = np.ones(1)
        else:
            _, s, vt = np.linalg.svd(points[list(chosen)])
            if s[k - 2] <= 1e-10 * scale:
                continue
            normal = vt[-1]
        value = points @ normal
        on = np.flatnonzero(np.abs(value) <= ON_PLANE * scale)
        if len(on) > MAX_ON_PLANE:
            return None
        signs = np.where(value > 0, 1, -1).astype(np.int8)
        for own in itertools.product((1, -1), repeat=len(on)):
            signs[on] = own
            found.add(signs.tobytes())
            found.add((-signs).tobytes())
        if len(found) > MAX_PATTERNS:
            return None
    return np.array([np.frombuffer(s, dtype=np.int8) for s in sorted(found)], dtype=float).reshape(-1, n)


@dataclass(frozen=True, eq=False)
class WideBound:
    """A lower bound for every width, and the network that attains it up to rounding: neurons (sign, (w, b)), bias c."""

    value: float
    neurons: tuple[tuple[int, np.ndarray], ...]
    output: float


def wide_bound(w: Wide, signs: tuple[int, ...], cells: np.ndarray) -> WideBound:
    """The bound for networks whose output weights have these signs; `cells` from `patterns`."""
    parts = (getattr(w, f.name) for f in fields(w))
    key = (signs, *((p.shape, p.tobytes()) if isinstance(p, np.ndarray) else p for p in parts))
    if key not in _found:  # a solve asks twice, before and after the first incumbent
        value, neurons, c = _Search(_with_constants(w, signs), signs, cells).run()
        if len(_found) >= REMEMBERED:
            _found.clear()
        _found[key] = WideBound(value, tuple(neurons), c)
    return _found[key]


def _with_constants(w: Wide, signs: tuple[int, ...]) -> Wide:
    """Biases that do not decay make constants for nothing, neurons with w = 0: c may be as large as they allow."""
    if w.biases != "free" or not math.isfinite(w.reach):
        return w
    up = any(s > 0 or w.slope > 0 for s in signs)
    down = any(s < 0 or w.slope > 0 for s in signs)
    most = w.width * w.reach
    lo, hi = w.output
    return replace(w, output=(lo - most * down, hi + most * up), output_penalty=0.0)


REMEMBERED = 32
_found: dict[object, WideBound] = {}


class _Search:
    """Column generation for one set of output signs."""

    def __init__(self, w: Wide, signs: tuple[int, ...], cells: np.ndarray):
        self.w, self.signs, self.cells = w, signs, cells
        self.rows = np.hstack([w.x, np.ones((len(w.x), 1))]) if w.biases != "none" else w.x
        self.weight = np.ones(self.rows.shape[1])
        if w.biases == "free":
            self.weight[-1] = 1e4  # the multiplier of an equality, up to what `spare` accounts for
        self.slopes = np.where(cells > 0, 1.0, w.slope)  # (patterns, N)

    def hidden(self, u: np.ndarray) -> np.ndarray:
        z = self.rows @ u
        return np.where(z > 0, z, self.w.slope * z)

    def price(self, z: np.ndarray) -> tuple[float, float, list[tuple[int, np.ndarray]]]:
        """(largest |u|-part, largest rest for the bias, best neurons) over patterns and signs."""
        from scipy.optimize import nnls

        largest, spare, atoms = 0.0, 0.0, []
        for s in self.signs:
            for t, slope in zip(self.cells, self.slopes):
                g = self.rows.T @ (-s * z * slope)
                if np.linalg.norm(g) <= 0:
                    continue
                a = (self.rows * t[:, None]).T
                mu, _ = nnls(self.weight[:, None] * a, -self.weight * g)
                rest = g + a @ mu
                u = rest if self.w.biases != "free" else rest[:-1]
                size = float(np.linalg.norm(u))
                largest = max(largest, size)
                if self.w.biases == "free":
                    spare = max(spare, abs(float(rest[-1])))
                if size > 0.9 * self.w.factor:
                    atoms.append((size, s, rest))
        atoms.sort(key=lambda item: -item[0])
        return largest, spare, [(s, self._neuron(s, rest, z)) for _, s, rest in atoms[:12]]

    def _neuron(self, s: int, rest: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The neuron of norm 1 in a pattern's best direction; without decay of biases with its best bias."""
        if self.w.biases != "free":
            return rest / np.linalg.norm(rest)
        w = rest[:-1] / np.linalg.norm(rest[:-1])
        b = -(self.w.x @ w)
        pre = (self.w.x @ w)[:, None] + b[None, :]
        values = -s * z @ np.where(pre > 0, pre, self.w.slope * pre)
        return np.append(w, b[int(np.argmax(values))])

    def bound(self, z: np.ndarray, largest: float, spare: float) -> float:
        w = self.w
        shrink = min(1.0, w.factor / largest) * (1 - 1e-12) if largest > 0 else 1.0
        z = z * shrink
        total = float(z.sum())
        lo, hi = w.output
        if w.output_penalty > 0:
            c = float(np.clip(-total / (2 * w.output_penalty), lo, hi))
        else:
            c = lo if total > 0 else hi
        rest = w.width * w.reach * spare * shrink if spare > 0 else 0.0
        constant = c * total + w.output_penalty * c * c if c or total else 0.0
        return float(-(z @ w.y) - np.sum(z * z / (4 * w.m)) + constant - rest)

    def run(self) -> tuple[float, list[tuple[int, np.ndarray]], float]:
        """(bound, neurons with their scale in the norm, output bias)."""
        w = self.w
        atoms: list[tuple[int, np.ndarray]] = []
        a = np.zeros(0)
        best, c = -math.inf, 0.0
        for _ in range(ROUNDS):
            phi = np.array([s * self.hidden(u) for s, u in atoms]).T.reshape(len(w.y), len(atoms))
            a, c = lasso(phi, w, a)
            f = phi @ a + c
            z = 2 * w.m * (f - w.y)
            value = float(np.sum(w.m * (f - w.y) ** 2) + w.factor * a.sum() + w.output_penalty * c * c)
            largest, spare, new = self.price(z)
            best = max(best, self.bound(z, largest, spare))
            if value - best <= CLOSED * max(1e-3, abs(value)) or not new:
                break
            atoms, a = self._merged([(s, u * k) for (s, u), k in zip(atoms, a) if k > 0])
            atoms, a = atoms + new, np.append(a, np.zeros(len(new)))
        atoms, a = self._merged([(s, u * k) for (s, u), k in zip(atoms, a) if k > 0])
        return best, [(s, u * k) for (s, u), k in zip(atoms, a)], c

    def _merged(self, neurons: list[tuple[int, np.ndarray]]) -> tuple[list[tuple[int, np.ndarray]], np.ndarray]:
        """The same function with one neuron for each sign and pattern, as neurons of norm 1 and their norms: the norm
        of a sum is at most the sum of norms. A point near the kink of a neuron may be on either side."""
        groups: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []  # sign, sum, may be positive, may be negative
        for s, u in neurons:
            pre = self.rows @ u
            near = np.abs(pre) <= ON_PLANE * max(1e-300, float(np.abs(pre).max()))
            up, down = (pre > 0) | near, (pre < 0) | near
            for k, (sign, total, can_up, can_down) in enumerate(groups):
                if sign == s and np.all((up & can_up) | (down & can_down)):
                    groups[k] = sign, total + u, up & can_up, down & can_down
                    break
            else:
                groups.append((s, u, up, down))
        norms = [float(np.linalg.norm(u[:-1] if self.w.biases == "free" else u)) for _, u, _, _ in groups]
        kept = [((s, u / n), n) for (s, u, _, _), n in zip(groups, norms) if n > 0]
        return [atom for atom, _ in kept], np.array([n for _, n in kept])


def lasso(phi: np.ndarray, w: Wide, start: np.ndarray) -> tuple[np.ndarray, float]:
    """min sum m (phi a + c - y)^2 + factor sum a + penalty c^2 over a >= 0 and c in its box; an active-set method."""
    n = phi.shape[1]
    design = np.hstack([phi, np.ones((len(w.y), 1))])
    q = 2 * (design.T * w.m) @ design
    q[-1, -1] += 2 * w.output_penalty
    p = 2 * (design.T * w.m) @ w.y
    p[:-1] -= w.factor
    lo, hi = np.append(np.zeros(n), w.output[0]), np.append(np.full(n, np.inf), w.output[1])
    v = np.append(start, np.clip(0.0, *w.output))
    free = (v > lo) & (v < hi)
    free[-1] = True
    ridge = 1e-9 * float(np.abs(np.diag(q)).max())  # dependent neurons: a step along their null space goes to a bound
    for _ in range(20 * (n + 2)):
        inner = np.flatnonzero(free)
        move = np.zeros(n + 1)
        if len(inner):
            slope = q[inner] @ v - p[inner]
            move[inner] = np.linalg.solve(q[np.ix_(inner, inner)] + ridge * np.eye(len(inner)), -slope)
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(move < 0, (lo - v) / move, np.where(move > 0, (hi - v) / move, np.inf))
        room[~free] = np.inf
        step = float(min(1.0, room.min(initial=np.inf)))
        v = np.clip(v + step * move, lo, hi)
        if step < 1.0:
            blocked = free & (room <= step)
            v[blocked] = np.where(move[blocked] < 0, lo[blocked], hi[blocked])
            free &= ~blocked
            continue
        slope = q @ v - p
        if np.abs(slope[free]).max(initial=0.0) > 1e-10 * max(1.0, float(np.abs(p).max())):
            continue
        slope[free] = 0.0
        gain = np.where(v <= lo, -slope, slope)
        gain[free] = 0.0
        worst = int(np.argmax(gain))
        if gain[worst] <= 1e-11 * max(1.0, float(np.abs(p).max())):
            break
        free[worst] = True
    return v[:-1], float(v[-1])
