"""The fewest errors as a mixed-integer program, and by enumeration, both on HiGHS without anything of the engine."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

THRESHOLD = ("step", "sign")


class Model:
    def __init__(self) -> None:
        self.lo, self.hi, self.whole, self.cost, self.rows = [], [], [], [], []

    def variable(self, lo: float, hi: float, whole: int = 0, cost: float = 0.0) -> int:
        for values, value in ((self.lo, lo), (self.hi, hi), (self.whole, whole), (self.cost, cost)):
            values.append(value)
        return len(self.lo) - 1

    def at_least(self, terms: list[tuple[int, float]], bound: float) -> None:
        self.rows.append((terms, bound))

    def solve(self) -> float:
        a = np.zeros((len(self.rows), len(self.lo)))
        for i, (terms, _) in enumerate(self.rows):
            for j, value in terms:
                a[i, j] += value
        constraints = LinearConstraint(a, [bound for _, bound in self.rows], np.inf)
        result = milp(self.cost, constraints=constraints, bounds=Bounds(self.lo, self.hi), integrality=self.whole,
                      options={"mip_rel_gap": 0})  # fmt: skip
        return float(result.fun) if result.status == 0 else np.inf


def scaled(terms: list[tuple[int, float]], factor: float) -> list[tuple[int, float]]:
    return [(j, factor * value) for j, value in terms]


def fewest(x, y, neurons, activation, weights, biases, outputs, output_bias, margin, counts=None, alpha=0.1, eps=1e-4):
    """The optimum in boxes [-weights, weights] and so on. Step and sign: z >= eps is on, z <= -eps off.

    output_bias: a pair (lo, hi), or one number for (-output_bias, output_bias).
    """
    output_bias = output_bias if isinstance(output_bias, tuple) else (-output_bias, output_bias)
    counts = np.ones(len(x)) if counts is None else counts
    choices = [(1,) * neurons] if activation in THRESHOLD else itertools.product((1, -1), repeat=neurons)
    return min(_with_signs(np.asarray(x, dtype=float), np.where(np.asarray(y) > 0, 1.0, -1.0), activation, weights,
                           biases, outputs, output_bias, margin, counts, alpha, eps, signs)
               for signs in choices)  # fmt: skip


def _with_signs(x, s, activation, weights, biases, outputs, output_bias, margin, counts, alpha, eps, signs):
    """With |v| (w, b) as unknowns, |v| too where it is needed."""
    (n, d), m = x.shape, Model()
    c = m.variable(*output_bias)
    box = np.append(np.full(d, weights), biases) * (1.0 if activation in THRESHOLD else outputs)
    w = [[m.variable(-b, b) for b in box] for _ in signs]
    v = [m.variable(-outputs if activation in THRESHOLD else 0.0, outputs) for _ in signs]
    if activation == "hardtanh":
        for k, j in itertools.product(range(len(signs)), range(d + 1)):
            for side in (1.0, -1.0):
                m.at_least([(v[k], box[j] / outputs), (w[k][j], side)], 0.0)
    for i in range(n):
        wrong = m.variable(0, 1, 1, float(counts[i]))
        out, big = [(c, s[i])], max(np.abs(output_bias)) + margin
        for k, sign in enumerate(signs):
            z = list(zip(w[k], np.append(x[i], 1.0), strict=True))
            most = float(np.abs(np.append(x[i], 1.0)) @ box)
            if activation in THRESHOLD:
                h, size = _threshold(m, z, v[k], most, outputs, activation, eps), outputs
            elif activation == "hardtanh":
                h, size = _hardtanh(m, z, v[k], most, outputs), outputs
            else:
                slope = {"relu": 0.0, "abs": -1.0, "leaky_relu": alpha}[activation]
                h, size = _bent(m, z, most, slope), max(1.0, abs(slope)) * most
            out.append((h, s[i] * sign))
            big += size
        m.at_least([*out, (wrong, big)], margin)
    return m.solve()


def _threshold(m, z, v, most, outputs, activation, eps):
    on, h = m.variable(0, 1, 1), m.variable(-outputs, outputs)
    m.at_least([*z, (on, -most - 1)], eps - most - 1)
    m.at_least([*scaled(z, -1), (on, most + 1)], eps)
    low = 0.0 if activation == "step" else -1.0
    for side in (1.0, -1.0):
        m.at_least([(h, side), (v, -side), (on, -2 * outputs)], -2 * outputs)
        m.at_least([(h, side), (v, -side * low), (on, 2 * outputs)], 0.0)
    return h


def _hardtanh(m, z, v, most, outputs):
    above, below, h, big = m.variable(0, 1, 1), m.variable(0, 1, 1), m.variable(-outputs, outputs), most + 2 * outputs
    m.at_least([(above, -1.0), (below, -1.0)], -1.0)
    for side, there, other in ((1.0, above, below), (-1.0, below, above)):
        m.at_least([(h, 1.0), (v, -side), (there, -big)], -big)
        m.at_least([(h, -1.0), (v, side), (there, -big)], -big)
        m.at_least([*scaled(z, side), (v, -1.0), (there, -big)], -big)
        m.at_least([*scaled(z, -side), (v, 1.0), (there, big)], 0.0)
        m.at_least([(h, side), *scaled(z, -side), (there, big), (other, big)], 0.0)
    return h


def _bent(m, z, most, slope):
    on, size = m.variable(0, 1, 1), (abs(slope) + 1) * most
    h, big = m.variable(-size, size), size + most
    m.at_least([*z, (on, -big)], -big)
    m.at_least([*scaled(z, -1), (on, big)], 0.0)
    for side in (1.0, -1.0):
        m.at_least([(h, side), *scaled(z, -side), (on, -big)], -big)
        m.at_least([(h, side), *scaled(z, -side * slope), (on, big)], 0.0)
    return h


def by_enumeration(x, y, activation, margin, counts, alpha=0.1) -> float:
    """One neuron without boxes: each sign, pattern and set of right samples, lightest wrong ones first."""
    (n, d), s = np.shape(x), np.where(np.asarray(y) > 0, 1.0, -1.0)
    inputs = np.hstack([x, np.ones((n, 1))])
    zero, one = np.zeros((n, d + 1)), np.ones((n, 1))
    forms = np.hstack([inputs, 0 * one])  # of |v| (w, b) and |v|
    unit = np.hstack([zero, one])
    slope = {"relu": 0.0, "abs": -1.0, "leaky_relu": alpha}.get(activation)
    if slope is None:
        pieces, cuts = [-unit, forms, unit], [forms + unit, forms - unit]
    else:
        pieces, cuts = [slope * forms, forms], [forms]
    sets = sorted(itertools.product((0, 1), repeat=n), key=lambda wrong: float(np.dot(wrong, counts)))
    best = np.inf
    for sign in (1.0, -1.0):
        for pattern in itertools.product(range(len(pieces)), repeat=n):
            rows = [(1.0 if p > k else -1.0) * np.append(cut[i], 0.0)
                    for i, p in enumerate(pattern) for k, cut in enumerate(cuts)]  # fmt: skip
            for wrong in sets:
                if np.dot(wrong, counts) >= best:
                    break
                right = [s[i] * np.append(sign * pieces[p][i], 1.0) for i, p in enumerate(pattern) if not wrong[i]]
                limits = np.append(np.zeros(len(rows)), np.full(len(right), margin))
                bounds = [(None, None)] * (d + 1) + [(0, None), (None, None)]
                if linprog(np.zeros(d + 3), A_ub=-np.array(rows + right), b_ub=-limits, bounds=bounds).status == 0:
                    best = float(np.dot(wrong, counts))
                    break
    return best
