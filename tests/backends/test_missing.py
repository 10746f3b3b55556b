"""Packages that are not installed: everything else works, and the error says the command that installs them."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from nnspec import backends
from nnspec.backends import gurobi
from nnspec.backends.files import write
from nnspec.errors import MissingPackageError
from nnspec.formats import read_network, write_network
from nnspec.problem import Layer, Network, Parameter
from nnspec.status import Limits

from .programs import PROGRAMS


@pytest.fixture
def without(monkeypatch):
    """Makes a package unimportable."""

    def block(package):
        for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")] or [package]:
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, package, None)
        gurobi._functions.cache_clear()

    yield block
    monkeypatch.undo()
    gurobi._functions.cache_clear()


@pytest.mark.parametrize(("backend", "package", "command"), [
    ("scip", "pyscipopt", "pip install pyscipopt"), ("highs", "highspy", "pip install highspy"),
    ("gurobi", "gurobipy", r"pip install nnspec\[gurobi\]"), ("pyomo:highs", "pyomo", "pip install pyomo"),
])  # fmt: skip
def test_backends(without, backend, package, command):
    without(package)
    found = backends.get(backend)
    assert not found.available().ok
    with pytest.raises(MissingPackageError, match=rf"NNS160.*{package}.*{command}"):
        found.solve(PROGRAMS["lp"]()[0], Limits(time=10))
    lines = {line.name: line.availability for line in backends.installed()}
    if ":" not in backend:
        assert not lines[backend].ok
        assert lines[backend].command.replace("[", r"\[").replace("]", r"\]") == command
    others = [n for n in ("scip", "highs") if n != backend]
    assert all(lines[n].ok for n in others)
    assert backends.get(others[0]).solve(PROGRAMS["lp"]()[0], Limits(time=10)).objective == pytest.approx(33.4)


def test_files(without, tmp_path):
    program = PROGRAMS["lp"]()[0]
    without("pyscipopt")
    with pytest.raises(MissingPackageError, match="pip install pyscipopt"):
        write(program, tmp_path / "m.lp")
    without("pyomo")
    with pytest.raises(MissingPackageError, match="pip install pyomo"):
        write(program, tmp_path / "m.nl")
    write(program, tmp_path / "m.py")  # is text


def test_networks(without, tmp_path):
    layers = (Layer("x", "input", (), (1,)),
              Layer("y", "dense", ("x",), (1,), weights=Parameter.constant("f.y.weights", np.eye(1))))  # fmt: skip
    network = Network("f", layers, ("y",))
    write_network(network, tmp_path / "f.onnx")
    without("onnxruntime")
    with pytest.raises(MissingPackageError, match="pip install onnxruntime"):
        read_network(tmp_path / "f.onnx", "f")
    without("onnx")
    with pytest.raises(MissingPackageError, match="pip install onnx"):
        read_network(tmp_path / "f.onnx", "f")
    with pytest.raises(MissingPackageError, match="pip install onnx"):
        write_network(network, tmp_path / "g.onnx")


@pytest.mark.parametrize(("solver", "command"), [
    ("scip_direct", "pip install pyscipopt"), ("highs", "pip install highspy"), ("appsi_highs", "pip install highspy"),
    ("gurobi_direct_minlp", r"pip install nnspec\[gurobi\]"), ("ipopt", "PATH"),
])  # fmt: skip
def test_solvers_behind_pyomo(monkeypatch, solver, command):
    monkeypatch.setattr("nnspec.backends.pyomo.PyomoBackend._interface", lambda _: None)
    with pytest.raises(MissingPackageError, match=rf"NNS160.*{solver}.*{command}"):
        backends.get(f"pyomo:{solver}").solve(PROGRAMS["lp"]()[0], Limits(time=10))
