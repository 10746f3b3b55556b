"""Proofs of the fewest weights, neurons or inputs under a limit of the loss: every cheaper support is excluded."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cells_models import boxed, teacher, training
from test_cells_evidence import content_of, nodes, refused, rewrite
from test_cells_least import fewest, random_problem

from nnspec.engines.cells import CellsEngine
from nnspec.engines.cells.verify import EvidenceError, Report, verify
from nnspec.engines.interface import Limits, Outcome, Status
from nnspec.problem import expression as ex
from nnspec.problem.network import Network
from nnspec.problem.problem import Constraint, Problem
from nnspec.tolerances import FEASIBILITY

BOX = dict(weights=2.0, biases=2.0, outputs=2.0, output_bias=2.0)


def written(p: Problem, path: Path) -> tuple[Outcome, Report]:
    out = CellsEngine(evidence=path).solve(p, Limits(threads=1))
    assert out.status in (Status.OPTIMAL, Status.INFEASIBLE)
    assert not out.messages
    assert out.evidence["file"] == str(path)
    report = verify(path, p)
    if out.status is Status.INFEASIBLE:
        assert report.objective is None
        assert report.bound == np.inf
    else:
        assert report.objective == out.objective
        assert report.bound == out.bound == out.evidence["bound of the file"]
    return out, report


@pytest.mark.parametrize("seed", range(14))
def test_random_problems(tmp_path: Path, seed: int) -> None:
    p, prices, tolerance, most = random_problem(seed)
    written(fewest(p, prices, tolerance, most), tmp_path / "e.gz")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 250))
def test_random_problems_150(tmp_path: Path, seed: int) -> None:
    p, prices, tolerance, most = random_problem(seed)
    written(fewest(p, prices, tolerance, most), tmp_path / "e.gz")


def test_infeasible(tmp_path: Path) -> None:
    """No network, and every set of nonzero weights is excluded."""
    x, y = teacher(6)
    p = fewest(training(x, y, 1, **BOX), {"l0": 1.0}, 0.001)
    out, report = written(p, tmp_path / "e.gz")
    assert out.status is Status.INFEASIBLE
    assert report.excluded == 1  # the largest one
    content = content_of(tmp_path / "e.gz")
    for forge in (lambda c: c["parts"].clear(), lambda c: c.update(bound=5.0), lambda c: c.update(objective=5.0)):
        forged = copy.deepcopy(content)
        forge(forged)
        with pytest.raises(EvidenceError):
            verify(rewrite(tmp_path / "e.gz", forged), p)
    with pytest.raises(EvidenceError):
        verify(tmp_path / "e.gz", fewest(training(x, y, 1, **BOX), {"l0": 1.0}, 0.002))


def test_prices_of_single_neurons(tmp_path: Path) -> None:
    """They tell the sets of neurons apart; what the loss on a set can be they do not change."""
    x, y = teacher(7)
    loss = training(x[:, :1], y, 2, **BOX)
    p = fewest(loss, {"l0": 1.0}, 0.3)
    second = ex.Size("l0", "f", "h", neuron=(1,))
    goal = ex.Sum((p.objective.expression, ex.Product((ex.Constant(0.5), second))))
    p = replace(p, objective=replace(p.objective, expression=goal))
    out, report = written(p, tmp_path / "e.gz")
    assert out.objective == 4.0  # the first neuron alone
    assert report.excluded < 15  # exchanges of neurons exclude others


# -- what is changed is refused ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    x, y = teacher(7)
    p = fewest(training(x[:, :1], y, 2, **BOX), {"l0": 1.0}, 0.3)
    path = tmp_path_factory.mktemp("least") / "e.gz"
    out, report = written(p, path)
    assert report.excluded >= 2
    return p, path, content_of(path), out


def test_refuses_forgeries(example) -> None:  # type: ignore[no-untyped-def]
    p, path, content, _ = example
    verify(rewrite(path, copy.deepcopy(content)), p)

    def statements(c: dict) -> list[dict]:  # type: ignore[type-arg]
        return [s for part in c["parts"] for s in part["statements"]]

    def smaller_limit(c: dict) -> None:  # type: ignore[type-arg]
        c["problem"] = {**c["problem"], "offset": c["problem"]["offset"] + 0.1}

    for name, forge in {
        "a higher bound": lambda c: c.update(bound=c["bound"] + 1.0, objective=c["objective"] + 1.0),
        "a bound above the network": lambda c: c.update(bound=c["bound"] + 1.0),
        "a better network": lambda c: c.update(objective=c["objective"] - 1.0, bound=c["bound"] - 1.0),
        "a network that breaks the limit": lambda c: c["network"].update(c=c["network"]["c"] + 1.0),
        "no network": lambda c: c.update(network=None),
        "no network and no price": lambda c: c.update(network=None, objective=None, bound=None),
        "a support left out": lambda c: c["parts"].pop(),
        "all supports left out": lambda c: c["parts"].clear(),
        "signs left out": lambda c: c["parts"][0]["signs"].pop(),
        "a statement left out": lambda c: c["parts"][0]["statements"].clear(),
        "lower statements": lambda c: [s.update(value=0.99 * s["value"]) for s in statements(c)],
        "higher statements": lambda c: [s.update(value=2.0 * s["value"]) for s in statements(c)],
        "a missing subtree": lambda c: statements(c)[-1]["tree"].pop(),
        "no certificate": lambda c: nodes(c, "b")[-1].__setitem__(1, []),
        "a price in the limit": lambda c: [part["support"].update(price=1.0) for part in c["parts"]],
        "a smaller support": lambda c: c["parts"][0]["support"].update(
            hidden=[[False, False] for _ in c["parts"][0]["support"]["hidden"]], constant=False),
        "another limit": smaller_limit,
        "not fewest weights": lambda c: c.update(least=False),
        "no kind": lambda c: c.pop("least"),
    }.items():  # fmt: skip
        forged = copy.deepcopy(content)
        forge(forged)
        assert refused(rewrite(path, forged), p), name


def test_refuses_forgeries_without_the_spec(example) -> None:  # type: ignore[no-untyped-def]
    _, path, content, _ = example
    for forge in (lambda c: c["network"].update(c=c["network"]["c"] + 0.5), lambda c: c.update(bound=c["bound"] + 1.0),
                  lambda c: c["parts"][0]["statements"].clear(), lambda c: c["network"]["v"].pop()):  # fmt: skip
        forged = copy.deepcopy(content)
        forge(forged)
        assert refused(rewrite(path, forged))


def test_a_larger_support_does_for_a_smaller_one(example) -> None:  # type: ignore[no-untyped-def]
    """A support that is named larger than what was searched is not proven by the smaller one's tree."""
    _, path, content, _ = example
    forged = copy.deepcopy(content)
    whole = [[True] * 2 for _ in range(2)]
    for part in forged["parts"]:
        part["support"].update(hidden=whole, constant=True)
    assert refused(rewrite(path, forged))


def test_refuses_another_spec(example) -> None:  # type: ignore[no-untyped-def]
    p, path, _, _ = example
    x, y = teacher(7)
    loss = training(x[:, :1], y, 2, **BOX)
    verify(path, p)
    equal = ex.Comparison("==", loss.objective.expression, ex.Constant(0.3))
    for other in (fewest(loss, {"l0": 1.0}, 0.31), fewest(loss, {"l0": 2.0}, 0.3), fewest(loss, {"h": 1.0}, 0.3),
                  fewest(loss, {"l0": 1.0, "neurons": 1.0}, 0.3), fewest(loss, {"l0": 1.0}, 0.3, {"neurons": 0}),
                  loss, fewest(boxed(loss, c=(-3.0, 3.0)), {"l0": 1.0}, 0.3), _with_budget(p, 1),
                  replace(p, constraints=()), replace(p, constraints=(*p.constraints, *p.constraints)),
                  replace(p, constraints=(Constraint(equal),))):  # fmt: skip
        with pytest.raises(EvidenceError):
            verify(path, other)


def _with_budget(p: Problem, most: int) -> Problem:
    f: Network = p.networks["f"]
    return replace(p, networks={"f": replace(f, l0=most)})


def test_budgets_leave_fewer_sets(tmp_path: Path) -> None:
    """A proof under a budget is none without it."""
    x, y = teacher(7)
    loss = training(x[:, :1], y, 2, **BOX)
    p = fewest(loss, {"inputs": 1.0, "l0": 0.1}, 0.3, {"neurons": 1})
    _, report = written(p, tmp_path / "e.gz")
    assert report.bound > 0
    assert any("sets of nonzero weights" in note for note in report.notes)
    tight = fewest(loss, {"l0": 1.0}, 0.28, {"h": 1})
    assert written(tight, tmp_path / "t.gz")[0].status is Status.INFEASIBLE
    with pytest.raises(EvidenceError, match="leaves out"):
        verify(tmp_path / "t.gz", fewest(loss, {"l0": 1.0}, 0.28))


def test_a_checkpoint_keeps_the_proofs(tmp_path: Path) -> None:
    """What was excluded before a stop is part of the proof that a later run writes."""
    x, y = teacher(7)
    p = fewest(training(x[:, :1], y, 2, **BOX), {"l0": 1.0}, 0.28)
    whole = CellsEngine().solve(p, Limits(threads=1))
    file, engine, excluded = tmp_path / "e.gz", CellsEngine(tmp_path / "e.gz", tmp_path / "c"), 0
    for n in range(1, 20):
        out = engine.solve(p, Limits(nodes=1 + n * whole.nodes // 6, threads=1))
        if out.status is Status.OPTIMAL:
            break
        assert not file.exists()
        with np.load(tmp_path / "c") as z:
            excluded = max(excluded, len(z["more.proof.masks"]))
    assert excluded
    assert out.status is Status.OPTIMAL
    assert not out.messages
    assert out.objective == whole.objective == verify(file, p).bound


def test_close_to_the_limit(tmp_path: Path) -> None:
    """A support whose least loss is above the limit by little more than the tolerance is excluded, and proven to be."""
    x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0.0, 0.0, 1.0, 3.0])
    loss = training(x, y, 1, use_output_bias=False)
    one = CellsEngine().solve(boxed(loss, b=(0.0, 0.0)), Limits()).objective  # a line through 0
    out, report = written(fewest(loss, {"l0": 1.0}, one - 1.5 * FEASIBILITY), tmp_path / "e.gz")
    assert out.objective == 3
    assert report.bound == 3
