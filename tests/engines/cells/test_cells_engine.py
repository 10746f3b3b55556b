"""Known optima, anytime behaviour, determinism and the refusals of the cells engine."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cells_models import teacher, training

from nnspec.engines.cells import CellsEngine
from nnspec.engines.interface import Limits, Status
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import objective
from nnspec.problem.network import Activation, Parameter
from nnspec.problem.problem import Constraint, Objective, Tie, Variable

ENGINE = CellsEngine()


@pytest.mark.parametrize(
    ("n", "neurons", "value"),
    [(12, 1, 0.11148), (12, 2, 0.03816), (12, 3, 0.00497), (20, 2, 0.17014), (30, 2, 0.28882)],
)
def test_known_optima(n: int, neurons: int, value: float) -> None:
    out = ENGINE.solve(training(*teacher(n), neurons), Limits())
    assert out.status is Status.OPTIMAL
    assert out.objective == pytest.approx(value, abs=6e-6)
    assert out.objective - out.bound <= 1e-6 * out.objective


def test_one_thread_and_two_give_the_same_network() -> None:
    p = training(*teacher(20, seed=3), 2)
    a, b = (ENGINE.solve(p, Limits(threads=t, seed=5)) for t in (1, 2))
    assert a.objective == b.objective
    assert a.nodes == b.nodes
    assert a.bound == b.bound
    for name, values in a.point.parameters.items():
        assert np.array_equal(values, b.point.parameters[name])


def brute_force(x: np.ndarray, y: np.ndarray, slope: float) -> float:
    """One neuron on a line, no boxes: all patterns of all signs, each least-squares problem with scipy's bounds."""
    from scipy.optimize import lsq_linear

    order = np.argsort(x[:, 0])
    x, y = x[order, 0], y[order]
    best = math.inf
    n = len(x)
    for cut, side in itertools.product(range(n + 1), (0, 1)):
        on = (np.arange(n) >= cut) == bool(side)
        # slope times (x - t) on one side: t between the neighbours; a fine grid of t and an exact fit for each
        low = x[cut - 1] if cut else x[0] - 3
        high = x[cut] if cut < n else x[-1] + 3
        for t in np.linspace(low, high, 200):
            z = np.where(on, x - t, slope * (x - t))
            a = np.column_stack([z, np.ones(n)])
            best = min(best, 2 * lsq_linear(a, y).cost)
    return best


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "abs"])
def test_one_neuron_on_a_line_against_a_grid(activation: str) -> None:
    r = np.random.RandomState(4)
    x, y = r.randint(0, 6, (7, 1)).astype(float), r.randn(7)
    slope = {"relu": 0.0, "leaky_relu": 0.1, "abs": -1.0}[activation]
    out = ENGINE.solve(training(x, y, 1, activation), Limits())
    grid = brute_force(x, y, slope)
    assert out.status is Status.OPTIMAL
    assert out.objective <= grid + 1e-9
    assert out.objective >= grid - 2e-2 * grid  # the grid of kinks is fine, not exact


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((5, 2)),  # one point
        np.repeat(np.array([[0.0, 1.0], [1.0, 0.0]]), 4, axis=0),  # two points
        np.column_stack([np.arange(6.0), 2 * np.arange(6.0) + 1]),  # on one line
        np.column_stack([np.arange(6.0), np.ones(6)]),  # a constant column
        np.array(list(itertools.product([0.0, 1, 2], repeat=2))),  # an integer grid
        np.arange(6.0)[:, None] * 1e6,  # a large unit
        np.arange(6.0)[:, None] * 1e-6 + 1.0,  # a small spread far from 0
    ],
)
@pytest.mark.parametrize("kind", ["sse", "sae"])
def test_degenerate_data(x: np.ndarray, kind: str) -> None:
    r = np.random.RandomState(0)
    p = training(x, np.round(r.randn(len(x)), 1), 2, "relu", kind)
    out = ENGINE.solve(p, Limits())
    assert out.status is Status.OPTIMAL
    assert objective(p, out.point) == out.objective


def test_interpolated_data_have_loss_zero() -> None:
    out = ENGINE.solve(training(np.array([[0.0], [1], [2]]), np.array([0.0, 1, 0]), 2), Limits())
    assert out.status is Status.OPTIMAL
    assert out.objective == pytest.approx(0.0, abs=1e-9)


def test_limits_and_stop_keep_incumbent_and_a_valid_bound() -> None:
    p = training(*teacher(60, d=4, seed=2), 2)
    best = 0.5  # any network's loss is a ceiling for every bound
    for limits, stop, status in (
        (Limits(time=0.3), None, Status.LIMIT), (Limits(nodes=1000), None, Status.LIMIT),
        (Limits(), threading.Event(), Status.INTERRUPTED),
    ):  # fmt: skip
        if stop is not None:
            stop.set()
        out = ENGINE.solve(p, limits, stop=stop)
        assert out.status is status
        assert objective(p, out.point) == out.objective
        assert 0 <= out.bound <= min(out.objective, best)


@pytest.mark.parametrize("kind", ["sse", "sae"])
def test_local_search_ends_between_starts(kind: str) -> None:
    from nnspec.engines.cells.convex import Convex
    from nnspec.engines.cells.form import make
    from nnspec.engines.cells.model import recognise

    form = make(recognise(training(*teacher(20), 2, kind=kind)), (1, -1))
    everything = np.arange(20)
    stopped, whole = (Convex(form, np.array([c])) for c in (1, 0))
    none = whole.improve(everything, None, 0, 0)[0]
    assert stopped.improve(everything, None, 50, 0)[0] == none
    assert whole.improve(everything, None, 50, 0)[0] < none


def test_memory_limit_is_kept_or_reported() -> None:
    p = training(*teacher(20), 2)
    whole = ENGINE.solve(p, Limits())
    tight = ENGINE.solve(p, Limits(memory=0.2))
    assert tight.status is Status.OPTIMAL
    assert tight.objective == pytest.approx(whole.objective, rel=2e-6)
    none = ENGINE.solve(p, Limits(memory=0.001))
    assert none.status is Status.LIMIT
    assert "memory" in none.messages[0]
    assert none.bound <= whole.objective <= none.objective


def test_progress_is_monotone_and_points_are_networks() -> None:
    p = training(*teacher(20), 2)
    seen = []
    ENGINE.solve(p, Limits(), on_progress=seen.append)
    assert seen
    bounds = [s.bound for s in seen]
    incumbents = [s.incumbent for s in seen]
    assert bounds == sorted(bounds)
    assert incumbents == sorted(incumbents, reverse=True)
    assert all(objective(p, s.point) == s.incumbent for s in seen if s.point is not None)


def test_start_is_used() -> None:
    p = training(*teacher(12), 2)
    first = ENGINE.solve(p, Limits())
    again = ENGINE.solve(p, Limits(nodes=0), start=(first.point,))
    assert again.objective <= first.objective + 1e-12


def test_scaled_objective() -> None:
    x, y = teacher(12)
    out = ENGINE.solve(training(x, y, 1, factor=2.5), Limits())
    assert out.objective == pytest.approx(2.5 * 0.11148, abs=2e-5)


def refusals():
    p = training(*teacher(6), 2)
    f = p.networks["f"]
    loss = p.objective.expression
    size = ex.Size("l2", "f")
    hidden, out = f.layers[1], f.layers[2]

    def layers(**changes):
        return {"f": replace(f, layers=(f.layers[0], replace(hidden, **changes), out))}

    yield "penalty", replace(p, objective=Objective("minimize", ex.Sum((loss, replace(size, kind="l1")))))
    yield "decay of one layer", replace(p, objective=Objective("minimize", ex.Sum((loss, replace(size, layer="h")))))
    yield "maximise", replace(p, objective=Objective("maximize", loss))
    yield "satisfy", replace(p, objective=Objective("satisfy", None))
    yield "square", replace(p, objective=Objective("minimize", ex.Product((loss, loss))))
    yield "negative", replace(p, objective=Objective("minimize", ex.Product((ex.Constant(-1.0), loss))))
    yield "constraint", replace(p, constraints=(Constraint(ex.Comparison("<=", size, ex.Constant(1.0))),))
    yield "variable", replace(p, variables={"t": Variable("t", 0, 1)})
    yield "tie of a bias", replace(p, ties=(Tie(("f.out.bias", 0), ("f.h.bias", 1)),))
    yield "other network", replace(p, networks={"f": f, "g": replace(f, name="g")})
    yield "smooth", replace(p, networks=layers(activation=Activation("tanh")))
    yield "integer", replace(p, networks=layers(weights=Parameter.box("f.h.weights", (2, 2), -1, 1, "int")))
    empty = Parameter("f.h.bias", (2,), np.ones(2), np.zeros(2))
    yield "empty box", replace(p, networks=layers(bias=empty))
    yield "logistic", replace(p, objective=Objective("minimize", ex.Loss("logistic", "f", "D")))


@pytest.mark.parametrize(("what", "problem"), list(refusals()), ids=lambda v: v if isinstance(v, str) else "")
def test_refuses_what_it_cannot_do(what: str, problem) -> None:
    assert ENGINE.accepts(problem)
    with pytest.raises(ValueError):
        ENGINE.solve(problem, Limits())


def test_accepts_needs_no_compiler() -> None:
    code = "import sys; import nnspec.engines.cells as c; c.CellsEngine(); print('numba' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_the_command_line_leaves_blas_alone(tmp_path: Path) -> None:
    """numba imports scipy.linalg when it loads, unless it is told that nobody needs it; where others may, it is not."""
    (tmp_path / "a.nns").write_text(
        "data D = table(x = [[0.0], [1.0], [2.0], [4.0]], y = [0.0, 1.0, 0.0, 1.0])\n"
        "net f = input(1) -> dense(1, relu) -> dense(1)\nminimize sse(f, D)\n"
    )
    command = "from nnspec.cli.main import main; main(['solve', 'a.nns', '--engine', 'cells', '--json'])"
    library = "import nnspec; nnspec.solve('a.nns', engine='cells')"
    for code, loaded in ((command, False), (library, True)):
        tried = f"import sys\ntry:\n    {code}\nexcept SystemExit: pass\nprint('scipy.linalg' in sys.modules)"
        run = subprocess.run([sys.executable, "-c", tried], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert run.stdout.splitlines()[-1] == str(loaded)


@pytest.mark.parametrize(
    ("kind", "decay", "samples", "step"), [("sse", 0.0, 45, 1000), ("sae", 0.0, 24, 800), ("sse", 0.02, 16, 500)]
)
def test_resume_from_a_checkpoint_ends_like_one_run(
    tmp_path, kind: str, decay: float, samples: int, step: int
) -> None:
    from nnspec.engines.cells.checkpoint import CheckpointError

    x, y = teacher(samples, seed=5)
    p = training(x, y, 2, kind=kind, decay=decay)
    whole = ENGINE.solve(p, Limits())
    path = tmp_path / "c.npz"
    engine = CellsEngine(checkpoint=path)
    stops = 0
    for n in range(1, 200):
        out = engine.solve(p, Limits(nodes=n * step))
        if out.status is Status.OPTIMAL:
            break
        assert path.exists()
        stops += 1
        assert out.bound <= whole.objective + 1e-12
        if stops == 1:
            other = training(x, y + 1e-3 * x[:, 0], 2, kind=kind, decay=decay)
            with pytest.raises(CheckpointError):
                engine.solve(other, Limits())
    assert stops >= 2
    assert out.status is Status.OPTIMAL
    assert out.objective == pytest.approx(whole.objective, rel=2e-6)
    assert not path.exists()
    path.write_bytes(b"junk")
    with pytest.raises(CheckpointError):
        engine.solve(p, Limits())
