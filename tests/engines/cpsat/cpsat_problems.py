"""Random tiny problems with finitely many networks, and their optimum by trying all of them."""

import itertools

import numpy as np

from nnspec.problem import Constraint, Point, Problem, evaluate
from nnspec.problem import expression as ex
from tests.encodings.problems import PIECEWISE, training

LOSSES = ("sse", "mse", "sae", "mae", "max_error", "huber", "pinball", "hinge", "squared_hinge", "errors")
DOMAINS = ("two", "three", "spread", "binary", "int")


def values_of(p):
    return np.asarray(p.values) if p.kind == "set" else np.arange(p.lo.min(), p.hi.max() + 1)


def networks(problem):
    """All points of a problem without variables."""
    tensors = problem.free_parameters()
    entries = [values_of(p) for p in tensors for _ in range(p.size)]
    for flat in itertools.product(*entries):
        found, at = {}, 0
        for p in tensors:
            found[p.name] = np.array(flat[at : at + p.size], dtype=float).reshape(p.shape)
            at += p.size
        yield Point(found)


def count(problem):
    return float(np.prod([float(len(values_of(p))) ** p.size for p in problem.free_parameters()]))


def enumerated(problem):
    """The best objective over all networks, None if none is feasible."""
    sign = 1.0 if problem.minimize else -1.0
    best = None
    for point in networks(problem):
        if problem.constraints and evaluate.violations(problem, point):
            continue
        value = sign * evaluate.objective(problem, point)
        best = value if best is None else min(best, value)
    return None if best is None else sign * best


def random_problem(seed, most=3000):
    """Every loss, activation and domain, sizes and constraints; at most so many networks."""
    r = np.random.default_rng(seed)
    while True:
        kind, activation = str(r.choice(LOSSES)), str(r.choice(PIECEWISE))
        domains = [str(d) for d in r.choice(DOMAINS, 2)]
        layers = (2, 1, 1) if r.random() < 0.4 else (1, 2, 1) if r.random() < 0.7 else (1, 1, 2)
        layers = (1, 1, 1, 1) if r.random() < 0.2 else layers
        if layers[-1] == 2 and kind in ("errors", "hinge", "squared_hinge"):
            layers = (1, 1, 2)
        problem = training(kind, activation, r, sizes=layers, domain=domains[0], bias_domain=domains[1],
                           extra=_penalty(r), constraints=_constraints(r), weights=bool(r.random() < 0.3))  # fmt: skip
        if count(problem) <= most:
            return problem


def _penalty(r):
    kind = r.choice(["", "l0", "l1", "l2", "neurons", "inputs", "product"])
    if kind == "":
        return None
    if kind == "product":
        a, b = ex.ParameterRef("f.out.weights", (0, 0)), ex.ParameterRef("f.out.bias", (0,))
        return ex.Function("abs", (ex.Product((a, b)),))
    biases = bool(r.random() < 0.5) and kind in ("l1", "l2")
    return ex.Product((ex.Constant(float(r.choice([0.1, -0.05, 0.5]))), ex.Size(str(kind), "f", biases=biases)))


def _constraints(r):
    if r.random() < 0.6:
        return ()
    a, b = ex.ParameterRef("f.out.weights", (0, 0)), ex.ParameterRef("f.out.bias", (0,))
    less = ex.Comparison("<=", ex.Sum((a, b)), ex.Constant(float(r.choice([0.0, 0.5]))))
    at_least = ex.Comparison(">=", a, ex.Constant(0.0))
    equal = ex.Comparison("==", b, ex.Constant(-1.0))
    few = ex.Comparison("<=", ex.Size("l0", "f"), ex.Constant(3.0))
    forms = (less, ex.Or((less, equal)), ex.Implies(at_least, less), ex.Not(equal), ex.And((less, ex.Not(few))), few)
    return (Constraint(forms[int(r.integers(len(forms)))], "side"),)


def with_sense(problem, sense):
    return Problem(problem.name, problem.networks, problem.data, problem.variables,
                   type(problem.objective)(sense, problem.objective.expression), problem.constraints)  # fmt: skip
