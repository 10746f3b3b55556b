"""Every reduction, on hundreds of random problems, keeps the optimum.

Shown point by point: each feasible point of the problem that is as good as the incumbent has an image in some case that
is at least as good (so no optimum is lost), and each feasible point of an exact case maps back to a feasible point that
is at least as good (so none is invented). Together these say that the optima are equal.
"""

import math

import numpy as np
import pytest

from nnspec.problem.evaluate import objective, violations
from nnspec.reductions import CHAIN, reduce

from .specs import random_points, random_problem

TOLERANCE = 1e-7


def disagreements(problem, cases, upper, rng, count=12):
    """What is wrong with the cases: points lost on the way there, points invented on the way back."""
    wrong = []
    for point in random_points(problem, rng, count):
        value = objective(problem, point)
        if violations(problem, point, 0.0) or value > upper:
            continue
        images = [(c, q) for c in cases if (q := c.forward(point)) is not None]
        limit = value + TOLERANCE * max(1, abs(value))
        good = [q for c, q in images if not violations(c.problem, q, TOLERANCE) and objective(c.problem, q) <= limit]
        if not good:
            wrong.append(f"a point with value {value} is lost")
    for case in cases:
        if not case.exact:
            continue
        for image in random_points(case.problem, rng, count):
            if violations(case.problem, image, 0.0):
                continue
            value = objective(case.problem, image)
            point = case.inverse(image)
            if value <= upper and violations(problem, point, TOLERANCE):
                wrong.append(f"the way back violates {violations(problem, point, TOLERANCE)}")
            elif value <= upper and objective(problem, point) > value + TOLERANCE * max(1, abs(value)):
                wrong.append(f"the way back turns {value} into {objective(problem, point)}")
    return wrong


def incumbent(problem, rng):
    values = [objective(problem, p) for p in random_points(problem, rng, 30) if not violations(problem, p, 0.0)]
    return min(values, default=math.inf)


@pytest.mark.parametrize("reduction", CHAIN, ids=lambda r: r.name)
def test_each_reduction_alone(reduction):
    applied = 0
    for seed in range(500):
        rng = np.random.default_rng(seed)
        problem = random_problem(seed)
        upper = incumbent(problem, rng) * 1.5 if seed % 2 else math.inf
        if reduction.applies(problem, upper) is not None:
            continue
        applied += 1
        cases = reduction.apply(problem, upper).cases
        assert disagreements(problem, cases, upper, rng) == [], f"seed {seed}"
    assert applied >= 8, "the random problems must exercise the reduction"


def test_the_whole_chain():
    applied = 0
    for seed in range(1000, 1250):
        rng = np.random.default_rng(seed)
        problem = random_problem(seed)
        upper = incumbent(problem, rng) * 1.5
        chain = reduce(problem, upper)
        applied += any(s.applied for s in chain.steps)
        assert disagreements(problem, chain.cases, upper, rng, 8) == [], f"seed {seed}"
    assert applied > 100
