"""Every template on every backend that is installed, and mutants that must be caught."""

from __future__ import annotations

import pytest

import nnspec.encodings.builtin  # noqa: F401
from nnspec.backends import registry as backends
from nnspec.encodings.conformance import ELEMENTWISE, conformance, survivors
from nnspec.encodings.registry import names
from nnspec.errors import UnsupportedError

TEMPLATES = [(kind, name) for kind in (*ELEMENTWISE, "maxpool") for name in names(kind)]
MILP = ("relu", "maxpool", "sign", "abs", "hardtanh")


def installed(name):
    backend = backends.get(name)
    if not backend.available().ok:
        pytest.skip(f"{name} is not installed")
    return backend


def some(templates):
    """The slow ones with binaries a segment only once by default."""
    return [
        pytest.param(k, n, marks=[pytest.mark.long] if n == "envelope_binary" and k != "softplus" else [])
        for k, n in templates
    ]


@pytest.mark.parametrize(("kind", "name"), some(TEMPLATES))
def test_on_scip(kind, name):
    if (kind, name) == ("gelu", "exact"):  # SCIP has no error function
        with pytest.raises(UnsupportedError):
            conformance(kind, name, [installed("scip")])
    else:
        assert conformance(kind, name, [installed("scip")]) == []


@pytest.mark.long
@pytest.mark.parametrize("backend", ["highs", "gurobi", "pyomo:scip_direct", "pyomo:highs"])
@pytest.mark.parametrize(("kind", "name"), TEMPLATES)
def test_on_other_backends(kind, name, backend):
    try:
        assert conformance(kind, name, [installed(backend)]) == []
    except UnsupportedError as e:
        pytest.skip(str(e))


@pytest.mark.parametrize("name", ["bigm", "indicator"])
def test_on_highs(name):
    assert conformance("relu", name, [installed("highs")]) == []


@pytest.mark.parametrize("kind", [*MILP, "tanh"])
def test_mutants_are_caught(kind):
    name = names(kind)[0] if kind != "tanh" else "envelope"
    alive = survivors(kind, name, [installed("scip")])
    assert not [m for m in alive if "row" not in m]
    if kind in ("relu", "abs", "sign", "maxpool"):
        assert alive == []  # every row of these is needed
