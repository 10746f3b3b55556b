"""nnspec compile writes files that other programs read and solve to the same optimum."""

from __future__ import annotations

import runpy

import highspy
import numpy as np
import pytest
from pyomo.contrib.solver.common.factory import SolverFactory
from pyscipopt import Model

from nnspec.api import solve
from nnspec.formats import write_network
from nnspec.problem import Activation, Layer, Network, Parameter
from tests.backends import gams

LINEAR = """net f = onnx("f.onnx")
var a in -2..2
var b: int in -2..2
maximize gain: f(a, b)[0] - 0.3 * abs(a) + 0.1 * b
constraint kept: f(a, b)[1] <= 1.5
constraint class: argmax(f(a, b)) == 0
"""
SMOOTH = """net f = onnx("f.onnx")
var a in -1..1
var b in -1..1
minimize tanh(f(a, b)[0]) + a^2 * b
constraint f(a, b)[1] <= f(a, b)[0] + 3
"""


@pytest.fixture
def folder(tmp_path):
    r = np.random.default_rng(5)

    def layer(name, source, n, m, activation):
        return Layer(name, "dense", (source,), (m,), Activation(activation),
                     Parameter.constant(f"f.{name}.weights", np.round(r.normal(size=(m, n)), 3)),
                     Parameter.constant(f"f.{name}.bias", np.round(r.normal(size=m), 3)))  # fmt: skip

    layers = (Layer("x", "input", (), (2,)), layer("h", "x", 2, 4, "relu"), layer("o", "h", 4, 2, "linear"))
    write_network(Network("f", layers, ("o",)), tmp_path / "f.onnx")
    return tmp_path


def by_scip(path):
    model = Model()
    model.hideOutput()
    model.setParam("misc/usesymmetry", 0)
    model.readProblem(str(path))
    model.optimize()
    assert model.getStatus() == "optimal"
    return model.getObjVal()


def by_highs(path):
    highs = highspy.Highs()
    highs.silent()
    assert highs.readModel(str(path)) == highspy.HighsStatus.kOk
    highs.run()
    return highs.getInfo().objective_function_value


def by_pyomo(path):
    model = runpy.run_path(str(path))["model"]
    return SolverFactory("scip_direct").solve(model).incumbent_objective


def by_gams_reader(path):
    model = gams.read(path.read_text())
    model.optimize()
    return model.getObjVal()


READERS = [("cip", by_scip), ("lp", by_scip), ("lp", by_highs), ("mps", by_scip), ("mps", by_highs), ("nl", by_scip),
           ("py", by_pyomo), ("gms", by_gams_reader)]  # fmt: skip


@pytest.mark.parametrize(("ending", "read"), READERS)
def test_a_linear_model(nnspec, folder, ending, read):
    (folder / "m.nns").write_text(LINEAR)
    expected = solve(folder / "m.nns", backend="highs").objective
    written = nnspec("compile", "m.nns", "-o", f"model.{ending}", "--encoding", "relu=bigm")
    assert written.status == 0, written
    found = read(folder / f"model.{ending}")
    # MPS has no word for the sense: the file minimises the negative
    assert abs(found) == pytest.approx(abs(expected), abs=1e-5)
    assert found == pytest.approx(expected, abs=1e-5) or ending == "mps"


@pytest.mark.parametrize(("ending", "read"), [r for r in READERS if r[0] not in ("lp", "mps")])
def test_a_nonlinear_model(nnspec, folder, ending, read):
    (folder / "m.nns").write_text(SMOOTH)
    expected = solve(folder / "m.nns", backend="scip", time_limit=30).objective
    assert nnspec("compile", "m.nns", "-o", f"model.{ending}").status == 0
    assert read(folder / f"model.{ending}") == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("ending", ["lp", "mps"])
def test_what_a_format_cannot_hold_is_named(nnspec, folder, ending):
    (folder / "m.nns").write_text(SMOOTH)
    refused = nnspec("compile", "m.nns", "-o", f"model.{ending}")
    assert refused.status == 1
    assert f"the format .{ending} cannot take" in refused.err
    assert "write .cip" in refused.err
    assert not (folder / f"model.{ending}").exists()
