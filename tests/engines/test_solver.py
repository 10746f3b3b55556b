"""The solver engine: optima against enumeration and between backends, and that no claim goes beyond the numbers."""

import itertools
import threading
from dataclasses import replace

import numpy as np
import pytest

from nnspec import backends
from nnspec.engines.interface import Limits, Status
from nnspec.engines.solver import SolverEngine
from nnspec.engines.solver.judge import Judge, floor
from nnspec.errors import UnsupportedError, UsageError
from nnspec.incumbents import local_search
from nnspec.problem import (
    Activation,
    Constraint,
    DataSet,
    Layer,
    Network,
    Objective,
    Parameter,
    Point,
    Problem,
    Variable,
    evaluate,
)
from nnspec.problem import expression as ex
from nnspec.tolerances import SIGN_MARGIN
from tests.encodings.test_scip import random_spec

LIMITS = Limits(time=60)
SMALL_VALUES = (-1.0, 0.0, 1.0)


def network(activation="relu", inputs=2, hidden=1, kind="real", box=2.0, l0=None):
    def tensor(name, shape):
        return Parameter.box(f"f.{name}", shape, -box, box, kind, SMALL_VALUES if kind == "set" else ())

    layers = (
        Layer("x", "input", (), (inputs,)),
        Layer("h1", "dense", ("x",), (hidden,), Activation(activation), tensor("h1.weights", (hidden, inputs)),
              tensor("h1.bias", (hidden,)), l0),
        Layer("out", "dense", ("h1",), (1,), Activation(), tensor("out.weights", (1, hidden)),
              tensor("out.bias", (1,))),
    )  # fmt: skip
    return Network("f", layers, ("out",))


def training(net, loss="sse", samples=4, seed=0, **more):
    rng = np.random.default_rng(seed)
    x = np.round(rng.uniform(-1, 1, (samples, net.input_size)), 1)
    y = np.round(rng.uniform(-1, 1, (samples, 1)), 1)
    data = DataSet("D", x, y)
    return Problem("p", {"f": net}, {"D": data}, {}, Objective("minimize", ex.Loss(loss, "f", "D")), **more)


def enumerated(problem):
    """The optimum over all weights in SMALL_VALUES."""
    tensors = problem.free_parameters()
    sizes = [p.size for p in tensors]
    best = np.inf
    for values in itertools.product(SMALL_VALUES, repeat=sum(sizes)):
        parts = np.split(np.array(values), np.cumsum(sizes)[:-1])
        point = Point({p.name: v.reshape(p.shape) for p, v in zip(tensors, parts)})
        if not evaluate.violations(problem, point):
            best = min(best, evaluate.objective(problem, point))
    return best


@pytest.mark.parametrize(
    ("backend", "loss"),
    [("scip", "sse"), ("scip", "sae"), ("highs", "sae"), ("highs", "max_error"), ("gurobi", "sse"), ("gurobi", "mae")],
)
@pytest.mark.parametrize("activation", ["relu", "abs", "hardtanh", "sign"])
def test_few_valued_weights_by_enumeration(backend, loss, activation):
    if not backends.get(backend).available().ok:
        pytest.skip("not installed")
    problem = training(network(activation, kind="set"), loss, seed=len(activation))
    outcome = SolverEngine(backend).solve(problem, LIMITS)
    assert outcome.status is Status.OPTIMAL, outcome
    assert outcome.objective == pytest.approx(enumerated(problem), abs=1e-7)
    assert outcome.objective == pytest.approx(evaluate.objective(problem, outcome.point), abs=1e-12)
    assert outcome.bound <= outcome.objective


def test_l0_budget_gives_exact_zeros():
    problem = training(network("relu", l0=1, kind="set"), "sae")
    outcome = SolverEngine("highs").solve(problem, LIMITS)
    assert outcome.objective == pytest.approx(enumerated(problem), abs=1e-7)
    problem = training(network("relu", l0=2), "sae", samples=5)
    outcome = SolverEngine().solve(problem, Limits(nodes=200, time=20))
    hidden = [outcome.point.parameters[f"f.h1.{n}"] for n in ("weights", "bias")]
    assert sum(np.count_nonzero(t) for t in hidden) <= 2


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "silu"])
def test_no_random_network_is_better(activation):
    problem = training(network(activation, box=1.5), samples=3)
    outcome = SolverEngine().solve(problem, Limits(time=20, gap=1e-4))
    rng = np.random.default_rng(0)
    tensors = problem.free_parameters()
    for _ in range(3000):
        point = Point({p.name: rng.uniform(p.lo, p.hi) for p in tensors})
        assert evaluate.objective(problem, point) >= outcome.bound - 1e-9
    assert outcome.bound <= outcome.objective
    assert evaluate.violations(problem, outcome.point) == []


@pytest.mark.parametrize("seed", range(4))
def test_sign_networks_decide_every_sample_clearly(seed):
    """Every pre-activation keeps half of SIGN_MARGIN from 0, so that rounding to float32 changes nothing."""
    problem = training(network("sign", hidden=2), "sae", seed=seed)
    outcome = SolverEngine().solve(problem, LIMITS)
    w, b = (outcome.point.parameters[f"f.h1.{n}"] for n in ("weights", "bias"))
    z = problem.data["D"].x @ w.T + b
    assert np.abs(z).min() >= 0.4 * SIGN_MARGIN
    assert outcome.status is Status.OPTIMAL


def test_start_progress_and_limits():
    problem = training(network("tanh", hidden=2), samples=6)
    start = Point({p.name: np.full(p.shape, 0.1) for p in problem.free_parameters()})
    seen = []
    outcome = SolverEngine().solve(problem, Limits(time=60, nodes=1), (start,), seen.append)
    assert outcome.status is Status.LIMIT
    assert seen[0].incumbent == pytest.approx(evaluate.objective(problem, start))
    assert outcome.objective <= seen[0].incumbent
    values = [p.incumbent for p in seen]
    assert values == sorted(values, reverse=True)
    for progress in seen:
        if progress.point is not None:
            assert evaluate.objective(problem, progress.point) == pytest.approx(progress.incumbent)
    assert SolverEngine().solve(problem, Limits(time=0), (start,)).objective == pytest.approx(seen[0].incumbent)


def test_stop():
    problem = training(network("tanh", hidden=3), samples=10)
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    outcome = SolverEngine().solve(problem, Limits(time=60), stop=stop)
    assert outcome.status is Status.INTERRUPTED
    assert outcome.seconds < 20


def decision(sense="maximize", constraint=1.0):
    x, y = ex.VariableRef("x"), ex.VariableRef("y")
    total = ex.Sum((x, ex.Product((ex.Constant(2.0), y))))
    return Problem(
        "d", {}, {}, {"x": Variable("x", 0, 4), "y": Variable("y", 0, 4, "int")}, Objective(sense, total),
        (Constraint(ex.Comparison("<=", ex.Sum((x, y)), ex.Constant(constraint))),),
    )  # fmt: skip


@pytest.mark.parametrize("backend", ["scip", "highs", "pyomo:scip_direct"])
def test_decisions_without_networks(backend):
    outcome = SolverEngine(backend).solve(decision(constraint=2.5), LIMITS)
    assert (outcome.status, outcome.objective) == (Status.OPTIMAL, pytest.approx(4.5))
    assert outcome.point.variables == pytest.approx({"x": 0.5, "y": 2.0})
    if backend.startswith("pyomo"):
        return
    outcome = SolverEngine(backend).solve(decision(constraint=-1.0), LIMITS)
    assert (outcome.status, outcome.point) == (Status.INFEASIBLE, None)


def test_satisfy():
    problem = replace(decision(constraint=2.5), objective=Objective("satisfy", None))
    outcome = SolverEngine("highs").solve(problem, LIMITS)
    assert outcome.status is Status.OPTIMAL
    assert evaluate.violations(problem, outcome.point) == []


def test_accepts_says_why_not():
    assert SolverEngine("scip").accepts(training(network())) is None
    reason = SolverEngine("highs").accepts(training(network()))
    assert reason.startswith("highs cannot take")
    assert "continuous variable" in reason
    with pytest.raises(UnsupportedError):
        SolverEngine("highs").solve(training(network()), LIMITS)
    with pytest.raises(UsageError):
        SolverEngine("cplex")


class Lying:
    """A backend that solves and then tells something else."""

    name = "scip"

    def __init__(self, **lies):
        self.lies = lies
        self.honest = backends.get("scip")
        self.takes = self.honest.takes

    def solve(self, *arguments, **options):
        return replace(self.honest.solve(*arguments, **options), **self.lies)


def lied_to(problem, start=(), **lies):
    engine = SolverEngine()
    engine.backend = Lying(**lies)
    return engine.solve(problem, LIMITS, start)


def test_a_bound_above_a_known_value_is_an_error():
    problem = training(network(kind="set"), "sae")
    honest = SolverEngine().solve(problem, LIMITS)
    outcome = lied_to(problem, bound=honest.objective + 0.1)
    assert (outcome.status, outcome.bound) == (Status.ERROR, None)
    assert "contradicts" in " ".join(outcome.messages)
    outcome = lied_to(problem, bound=honest.objective + 1e-9)
    assert (outcome.status, outcome.bound) == (Status.OPTIMAL, outcome.objective)


def test_infeasibility_against_a_known_point_is_an_error():
    problem = training(network(kind="set"), "sae")
    start = Point({p.name: np.zeros(p.shape) for p in problem.free_parameters()})
    outcome = lied_to(problem, (start,), status=Status.INFEASIBLE, x=None, objective=None, bound=None)
    assert outcome.status is Status.ERROR
    assert "claims infeasibility" in " ".join(outcome.messages)
    assert outcome.point is not None


def test_optimal_with_an_open_gap_is_not_believed():
    problem = training(network(kind="set"), "sae")
    honest = SolverEngine().solve(problem, LIMITS)
    outcome = lied_to(problem, bound=honest.objective - 0.1)
    assert outcome.status is Status.LIMIT
    assert lied_to(problem, bound=None).status is Status.ERROR


def test_a_solution_that_breaks_the_problem_is_not_taken():
    """The solver's vector is judged by the problem, not by the program."""
    problem = decision(constraint=2.5)
    outcome = lied_to(problem, x=np.array([4.0, 4.0]), objective=12.0, bound=12.0)
    assert outcome.point is None or evaluate.violations(problem, outcome.point) == []
    assert outcome.status is not Status.OPTIMAL or outcome.objective == pytest.approx(4.5)


def test_polish_repairs_decisions_that_are_almost_integer():
    """A binary of 1 - 1e-6 and a big-M row that lives on it: the point read off it is worse than claimed."""
    problem = training(network("relu", kind="set"), "sae")
    engine = SolverEngine()
    program = engine.compile(problem).program
    honest = backends.get("scip").solve(program, LIMITS)
    rng = np.random.default_rng(0)
    blurred = honest.x + np.where(program.discrete, 0.0, rng.uniform(-1e-4, 1e-4, program.columns))
    outcome = lied_to(problem, x=blurred, objective=honest.objective, bound=honest.bound)
    assert outcome.status is Status.OPTIMAL
    assert outcome.objective == pytest.approx(honest.objective, abs=1e-7)


def test_judge_keeps_the_best_feasible_point():
    problem = training(network(kind="set"), "sae")
    judge = Judge(problem)
    zeros = Point({p.name: np.zeros(p.shape) for p in problem.free_parameters()})
    outside = Point({p.name: np.full(p.shape, 0.3) for p in problem.free_parameters()})
    assert judge.consider(outside) is None
    assert "domain" in judge.last_violation
    assert judge.falls_short(0.0)
    assert judge.consider(zeros) is zeros
    assert judge.consider(zeros) is None
    assert judge.falls_short(judge.objective - 1)
    assert not judge.falls_short(judge.objective)


@pytest.mark.parametrize("seed", [109, 175])
def test_a_zero_that_is_counted_stays_zero(seed):
    """Centring the threshold of a step neuron must not turn a bias of 0 into a nonzero that costs a penalty."""
    outcome = SolverEngine().solve(random_spec(seed), LIMITS)
    assert outcome.status is Status.OPTIMAL
    assert outcome.bound == pytest.approx(outcome.objective, abs=1e-6)


def test_floor():
    loss, w = ex.Loss("sse", "f", "D"), ex.ParameterRef("f.out.bias", (0,))
    two = ex.Constant(2.0)
    assert floor(loss) == 0
    assert floor(ex.Sum((loss, ex.Product((two, ex.Size("l0", "f"))), two))) == 2
    assert floor(ex.Sum((loss, ex.Product((ex.Constant(-2.0), loss))))) == -np.inf
    assert floor(ex.Sum((loss, w))) == -np.inf
    assert floor(ex.Power(w, 2.0)) == 0
    assert floor(ex.Power(w, 3.0)) == -np.inf
    assert floor(ex.Power(w, 0.5)) == -np.inf
    assert floor(None) == -np.inf


def test_a_proof_that_also_excludes_a_known_point_is_not_trusted(monkeypatch):
    from nnspec.backends.scip import ScipBackend

    problem = training(network("tanh", inputs=1, hidden=1, box=1.0), samples=3)
    trusted = SolverEngine("scip").solve(problem, Limits(time=20, gap=1e-2))
    assert trusted.status is Status.OPTIMAL
    monkeypatch.setattr(ScipBackend, "excludes", lambda *arguments, **keywords: True)
    doubted = SolverEngine("scip").solve(problem, Limits(time=20, gap=1e-2))
    assert doubted.status is Status.ERROR
    assert doubted.bound is None
    assert doubted.objective == pytest.approx(trusted.objective, rel=1e-2)
    assert "not trusted" in doubted.messages[-1]


def test_scip_keeps_a_known_solution_under_a_cutoff():
    """With the default of lp/disablecutoff SCIP finds this program infeasible at the root."""
    r = np.random.RandomState(5)
    x, y = r.uniform(-1, 1, (6, 2)).round(3), r.uniform(-1, 2, (6, 1)).round(3)
    net = network("tanh", inputs=2, hidden=2, box=3.0)
    problem = Problem("p", {"f": net}, {"D": DataSet("D", x, y)}, {}, Objective("minimize", ex.Loss("mse", "f", "D")))
    engine = SolverEngine("scip")
    program = engine.compile(problem).program
    value = evaluate.objective(problem, local_search(problem, starts=200)[0])
    for room in (1.05, 1.3, 1.8):
        assert not engine.backend.excludes(program, room * value + 1e-3, 5.0, nodes=1)
