"""SCIP on the compiled program against local search on the problem itself: no bound above a feasible point, and every
incumbent keeps its objective when it is recomputed from the weights."""

from __future__ import annotations

import numpy as np
import pytest

from nnspec.backends.scip import ScipBackend
from nnspec.encodings.compile import compile_problem
from nnspec.engines.solver import SolverEngine
from nnspec.engines.solver.judge import Judge
from nnspec.problem import Constraint, Objective, Point, Problem
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import objective, violations
from nnspec.problem.losses import KINDS
from nnspec.problem.network import ACTIVATIONS
from nnspec.status import Limits, Status

from .problems import DOMAINS, random_point, training

HIDDEN = [a for a in ACTIVATIONS if a != "softmax"]


def local_search(problem, seed=0, starts=15, steps=60):
    """The best feasible point found: random starts, then coordinate steps of shrinking size."""
    r = np.random.default_rng(seed)
    sign = 1.0 if problem.minimize else -1.0
    best, best_value = None, np.inf

    def judge(point):
        return sign * objective(problem, point) if not violations(problem, point, 1e-9) else np.inf

    for _ in range(starts):
        point = random_point(problem, r)
        value = judge(point)
        size = 1.0
        for _ in range(steps):
            trial = moved(problem, point, r, size)
            new = judge(trial)
            if new <= value:
                point, value = trial, new
            else:
                size = max(size * 0.93, 1e-3)
        if value < best_value:
            best, best_value = point, value
    return best, sign * best_value


def moved(problem, point, r, size):
    """A neighbour that respects the domains."""
    values = {n: np.array(v) for n, v in point.parameters.items()}
    free = problem.free_parameters()
    if free and (not problem.variables or r.random() < 0.6):
        p = free[int(r.integers(len(free)))]
        k = tuple(int(r.integers(n)) for n in p.shape)
        if p.kind == "set":
            values[p.name][k] = r.choice(p.values)
        elif p.kind == "int":
            values[p.name][k] = r.integers(p.lo[k], p.hi[k] + 1)
        else:
            values[p.name][k] = np.clip(values[p.name][k] + size * r.normal(), p.lo[k], p.hi[k]) * (r.random() > 0.05)
    variables = dict(point.variables)
    for v in problem.variables.values():
        if r.random() < 0.5:
            lo, hi = (0, 1) if v.kind == "binary" else (v.lo, v.hi)
            step = variables[v.name] + size * r.normal() * 0.3 * (hi - lo)
            variables[v.name] = float(np.clip(round(step) if v.kind != "real" else step, lo, hi))
    return Point(values, variables)


def check(problem, encodings=None, time=0.4, seed=0, tolerance=2e-5, **options):
    """Solve for a moment and compare; returns (result, compiled)."""
    compiled = compile_problem(problem, encodings, backend="scip", **options)
    known, known_value = local_search(problem, seed)
    starts = [compiled.start(known)] if known is not None else []
    result = ScipBackend().solve(compiled.program, Limits(time=time), starts)
    sign = 1.0 if problem.minimize else -1.0
    scale = tolerance * (1 + abs(known_value)) if known is not None else 0.0
    if known is not None:
        assert result.status is not Status.INFEASIBLE, "a feasible point was cut off"
        assert result.bound is None or sign * result.bound <= sign * known_value + scale, (
            "the bound is above a known point"
        )
    if result.x is not None:
        point = compiled.point(result.x)
        value = objective(problem, point)
        assert violations(problem, point, 1e-5) == []
        slack = sum(compiled.errors.values())
        if not slack and abs(value - result.objective) > 1e-4 * (1 + abs(value)):
            # SCIP's tolerances may leave a neuron on the wrong side of its jump, or let a big-M leak; engines polish
            judge = Judge(problem)
            judge.consider(point)
            SolverEngine("scip")._polished(compiled, result, Limits(time=10), judge)
            value = judge.objective
        if not slack:
            # an epigraph may lie above the loss until optimality presses it down, never below
            assert sign * value <= sign * result.objective + 1e-4 * (1 + abs(value))
            if result.status is Status.OPTIMAL:
                assert abs(value - result.objective) <= 1e-4 * (1 + abs(value))
                assert known is None or sign * value <= sign * known_value + scale
    return result, compiled


@pytest.mark.parametrize("activation", HIDDEN)
def test_activations(activation):
    r = np.random.default_rng(ACTIVATIONS.index(activation))
    check(training("sse", activation, r, samples=3))


@pytest.mark.parametrize("kind", KINDS)
def test_losses(kind):
    r = np.random.default_rng(KINDS.index(kind))
    check(training(kind, "relu", r, samples=3, weights=True))


@pytest.mark.parametrize("domain", DOMAINS)
def test_domains(domain):
    r = np.random.default_rng(DOMAINS.index(domain))
    check(training("sae", "relu", r, samples=3, domain=domain, bias_domain=domain))


@pytest.mark.parametrize("size", ["l0", "neurons", "inputs", "l1", "l2"])
def test_penalties(size):
    r = np.random.default_rng(1)
    penalty = ex.Product((ex.Constant(0.05), ex.Size(size, "f", biases=True)))
    check(training("sse", "relu", r, samples=3, extra=penalty))
    check(training("sae", "tanh", r, samples=2, extra=penalty))


def test_maximised_and_bounded_losses():
    r = np.random.default_rng(2)
    for kind in ("mae", "errors", "huber"):
        p = training(kind, "relu", r, samples=3, box=1.0)
        check(Problem(p.name, p.networks, p.data, {}, Objective("maximize", p.objective.expression)))
        at_most = Constraint(ex.Comparison("<=", p.objective.expression, ex.Constant(1.0)))
        check(Problem(p.name, p.networks, p.data, {}, Objective("minimize", ex.Size("l0", "f")), (at_most,)))


def random_spec(seed):
    """A random training problem: any loss, activation, domain, penalty, depth."""
    r = np.random.default_rng(seed)
    kind, activation = KINDS[int(r.integers(len(KINDS)))], HIDDEN[int(r.integers(len(HIDDEN)))]
    domain, bias_domain = (DOMAINS[int(r.integers(len(DOMAINS)))] if r.random() < 0.5 else "real" for _ in range(2))
    extra = None
    if r.random() < 0.4:
        size = ["l0", "neurons", "inputs", "l1", "l2"][int(r.integers(5))]
        extra = ex.Product((ex.Constant(0.05), ex.Size(size, "f")))
    return training(kind, activation, r, domain=domain, bias_domain=bias_domain, extra=extra,
                    weights=bool(r.random() < 0.3), bias=bool(r.random() < 0.85))  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_random_specs(seed):
    check(random_spec(seed), seed=seed, time=0.4)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 400))
def test_many_random_specs(seed):
    check(random_spec(seed), seed=seed, time=5.0)
