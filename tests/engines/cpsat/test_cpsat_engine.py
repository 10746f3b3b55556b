"""CP-SAT against trying all networks and against SCIP; refusals; limits, starts and stops."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from nnspec.backends import cpsat
from nnspec.engines.choose import choose, engine_named
from nnspec.engines.cpsat import CpsatEngine
from nnspec.engines.cpsat.exact import Builder, NotExact, rational
from nnspec.engines.interface import Limits, Status
from nnspec.engines.run import solve_problem
from nnspec.engines.solver import SolverEngine
from nnspec.errors import MissingPackageError, UnsupportedError, UsageError
from nnspec.language.load import load_problem
from nnspec.problem import evaluate
from tests.engines.cpsat.cpsat_problems import enumerated, random_problem, with_sense
from tests.reductions.specs import random_points
from tests.reductions.test_finite import finite_problem

pytestmark = pytest.mark.skipif(not cpsat.available().ok, reason="ortools is not installed")
ONE = Limits(time=60, threads=1)

PARITY = """
data D = table(x = [[0,0,0],[0,0,1],[0,1,0],[0,1,1],[1,0,0],[1,0,1],[1,1,0],[1,1,1]], y = [0,1,1,0,1,0,0,1])
net f = input(3) -> h: dense(2, step, weights in {-1, 0, 1}, biases in int(-3..3))
    -> out: dense(1, weights in {-1, 0, 1}, biases in int(-3..3))
minimize sae(f, D) + 0.125 * l0(f)
"""


def agree(seed):
    problem = random_problem(seed)
    if seed % 7 == 0:
        problem = with_sense(problem, "maximize")
    best = enumerated(problem)
    outcome = CpsatEngine().solve(problem, ONE)
    if best is None:
        assert outcome.status is Status.INFEASIBLE
        return
    assert outcome.status is Status.OPTIMAL, outcome.messages
    assert outcome.objective == pytest.approx(best, abs=1e-9)
    assert outcome.bound == pytest.approx(best, abs=1e-9)
    assert not evaluate.violations(problem, outcome.point)


@pytest.mark.parametrize("seed", range(10))
def test_all_networks(seed):
    agree(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 500))
def test_all_networks_more(seed):
    agree(seed)


@pytest.mark.parametrize("seed", range(1000, 1003))
def test_scip(seed):
    """Sizes that cannot be enumerated; margins of SCIP's steps allow it to be worse, never better."""
    problem = random_problem(seed, most=10**9)
    ours = CpsatEngine().solve(problem, ONE)
    theirs = SolverEngine("scip").solve(problem, ONE)
    if theirs.status is not Status.OPTIMAL:
        pytest.skip(f"SCIP: {theirs.status}")
    assert ours.status is Status.OPTIMAL
    smooth = not {layer.activation.kind for layer in problem.networks["f"].layers} & {"sign", "step"}
    exact = smooth and not any(k in str(problem.objective.expression) for k in ("errors",))
    tolerance = 1e-5 * (1 + abs(ours.objective))
    assert ours.objective <= theirs.objective + tolerance
    if exact and not problem.constraints:
        assert ours.objective >= theirs.objective - tolerance


@pytest.mark.parametrize("seed", [0, 3, 5])
def test_real_biases(seed):
    """Finite weights and real biases: no network of many is better than what is proven."""
    problem = finite_problem(seed, hidden=[1])
    engine = CpsatEngine()
    assert engine.accepts(problem) is None
    outcome = engine.solve(problem, ONE)
    assert outcome.status is Status.OPTIMAL, outcome.messages
    points = random_points(problem, np.random.default_rng(seed), 300)
    best = min(evaluate.objective(problem, p) for p in points if not evaluate.violations(problem, p))
    assert outcome.objective <= best + 1e-9
    again = engine.solve(problem, ONE, tuple(points[:1]))  # a start moves to the finite values
    assert again.objective == pytest.approx(outcome.objective, abs=1e-9)


def test_start_cutoff_and_progress():
    problem = load_problem(PARITY)
    first = CpsatEngine().solve(problem, ONE)
    assert first.status is Status.OPTIMAL
    seen = []
    again = CpsatEngine().solve(problem, ONE, (first.point,), seen.append)
    assert seen[0].incumbent == first.objective  # the start, before anything is searched
    assert seen[0].point is not None
    assert again.status is Status.OPTIMAL
    assert again.objective == first.objective
    below = replace(ONE, cutoff=first.objective - 1e-3)
    assert CpsatEngine().solve(problem, below).status is Status.INFEASIBLE
    above = replace(ONE, cutoff=first.objective + 1e-3)
    assert CpsatEngine().solve(problem, above).objective == first.objective


def test_hint_is_complete():
    """A start point gives a value to every variable, and they satisfy the program: CP-SAT need not repair it."""
    from nnspec.engines.cpsat.engine import Compiled

    problem = load_problem(PARITY)
    point = CpsatEngine().solve(problem, ONE).point
    compiled = Compiled(problem)
    x = compiled.start(point)
    assert None not in x
    program = compiled.builder.program
    for columns, factors, lo, hi, when in program.linear:
        if all((x[b] if b >= 0 else 1 - x[-b - 1]) for b in when):
            assert lo <= sum(c * x[j] for j, c in zip(columns, factors)) <= hi
    for literals in program.clauses:
        assert any((x[b] if b >= 0 else 1 - x[-b - 1]) for b in literals)
    objective = float(compiled.value(sum(c * x[j] for j, c in program.objective.items())))
    assert objective == pytest.approx(evaluate.objective(problem, point), abs=1e-12)


def test_stop_and_limit():
    """A problem that takes long: stop and time limit end it with a network and a bound."""
    rows = [[a, b, c, d] for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 1)]
    spec = f"""
    data D = table(x = {rows}, y = {[sum(r) % 2 for r in rows]})
    net f = input(4) -> h: dense(6, relu, weights in int(-9..9), biases in int(-9..9))
        -> out: dense(1, weights in int(-9..9), biases in int(-9..9))
    minimize sse(f, D) + 0.001 * l0(f)
    """
    problem = load_problem(spec)
    stop = threading.Event()
    outcome = CpsatEngine().solve(problem, ONE, stop=stop, on_progress=lambda p: stop.set() if p.point else None)
    assert outcome.status is Status.INTERRUPTED
    assert outcome.point is not None
    assert outcome.bound <= outcome.objective
    outcome = CpsatEngine().solve(problem, replace(ONE, time=1.0))
    assert outcome.status is Status.LIMIT
    assert outcome.seconds < 20


def test_callback_errors_arrive():
    def fail(progress):
        raise RuntimeError("from the callback")

    with pytest.raises(RuntimeError, match="from the callback"):
        CpsatEngine().solve(load_problem(PARITY), ONE, on_progress=fail)


def test_whole_way():
    """Through reductions and local search, as the command line does it, with decisions beside the network."""
    spec = """
    data D = table(x = [[0, 1], [0, 1], [1, 1], [2, 1]], y = [1, 0, 2, 1])
    net f = input(2) -> h: dense(2, relu, weights in int(-1..1), biases in int(-1..1))
        -> out: dense(1, weights in int(-1..1), biases in int(-1..1))
    var k: int in 0..3
    minimize sse(f, D) + 0.5 * l0(f) + 0.25 * k
    constraint enough: l0(f) + k >= 3
    """
    problem = load_problem(spec)
    ours = solve_problem(problem, ONE, backend="cpsat")
    theirs = solve_problem(problem, ONE, backend="scip")
    assert ours.status is theirs.status is Status.OPTIMAL
    assert (ours.engine, ours.backend) == ("solver", "cpsat")
    assert ours.objective == pytest.approx(theirs.objective, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("weights in {-1, 0, 1}, biases", "weights in -1..1, biases"), "f.h.weights is real"),
        (("step", "tanh"), "values are not rational"),
        (("sae(f, D)", "logistic(f, D)"), "irrational"),
        (("[0,0,0]", "[0,0,0.1234567890123]"), "no fraction with a denominator"),
        (("sae(f, D) +", "exp(sae(f, D)) +"), "exp has irrational values"),
        (("sae(f, D) +", "max_error(f, D)^40 +"), "above 2"),
    ],
)  # fmt: skip
def test_refusals(change, reason):
    problem = load_problem(PARITY.replace(*change))
    assert reason in CpsatEngine().accepts(problem)
    with pytest.raises(UnsupportedError, match="cpsat cannot take this problem"):
        CpsatEngine().solve(problem, ONE)


def test_missing_package(monkeypatch):
    from importlib import metadata

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert "ortools is not installed" in CpsatEngine().accepts(load_problem(PARITY))
    with pytest.raises(MissingPackageError) as error:
        CpsatEngine().solve(load_problem(PARITY), ONE)
    assert 'pip install "nnspec[cpsat]"' in error.value.diagnostics[0].help


def test_same_seed_same_network():
    problem = load_problem(PARITY)
    a, b = (CpsatEngine().solve(problem, Limits(time=60, seed=3)) for _ in range(2))
    assert (a.objective, a.nodes) == (b.objective, b.nodes)
    for name, values in a.point.parameters.items():
        assert np.array_equal(values, b.point.parameters[name])


def test_options():
    outcome = CpsatEngine({"linearization_level": 2}).solve(load_problem(PARITY), ONE)
    assert outcome.evidence["settings"]["linearization_level"] == 2
    with pytest.raises(UsageError, match="no_such_option"):
        CpsatEngine({"no_such_option": 1}).solve(load_problem(PARITY), ONE)
    with pytest.raises(UsageError, match="no encodings"):
        choose(load_problem(PARITY), backend="cpsat", encodings={"step": "bigm"})
    assert isinstance(engine_named("solver", "cpsat"), CpsatEngine)


def test_rational():
    assert rational(0.1, "").denominator == 10
    assert rational(1 / 3, "") * 3 == 1
    assert rational((0.7 - 0.1) / 0.9, "") * 3 == 2  # as scaling to 0..1 leaves it
    with pytest.raises(NotExact):
        rational(np.pi, "the number")


@pytest.mark.parametrize("seed", range(5))
def test_functions_of_forms(seed):
    """Every function of forms, at every value of its variables: recipes are what the rows enforce."""
    r = np.random.default_rng(seed)
    builder = Builder()
    sets = [[0, 1], [-1, 1], [-1, 0, 1], [-3, -2, -1, 0, 1, 2, 3, 4]]
    chosen = [sets[int(k)] for k in r.integers(len(sets), size=2)]
    x, y = (builder.variable([rational(float(v), "") for v in values]) for values in chosen)
    n = builder.program.size
    a, b = x.times(2) - y + 1, y.times(3)
    made = [builder.product(x, y), builder.product(a, y), builder.square(a), builder.maximum([a, b]),
            builder.magnitude(b), builder.nonnegative(a), builder.minimum([a, b, x])]  # fmt: skip
    for u in range(builder.program.hi[0] + 1):
        for v in range(builder.program.hi[1] + 1):
            full = builder.program.complete([u, v] + [None] * (builder.program.size - n))
            p, q = (float(builder.evaluate(f)(full)) for f in (x, y))
            s, t = 2 * p - q + 1, 3 * q
            expected = [p * q, s * q, s * s, max(s, t), abs(t), float(s >= 0), min(s, t, p)]
            assert [float(builder.evaluate(f)(full)) for f in made] == expected
            for columns, factors, lo, hi, when in builder.program.linear:
                if all((full[k] if k >= 0 else 1 - full[-k - 1]) for k in when):
                    assert lo <= sum(c * full[j] for j, c in zip(columns, factors)) <= hi
