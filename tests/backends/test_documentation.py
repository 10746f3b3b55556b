"""The tables of docs/backends.md are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from nnspec import backends
from nnspec.backends.bridges import BRIDGES
from nnspec.backends.files import FORMATS
from nnspec.backends.interface import Takes
from nnspec.backends.pyomo import EVERYTHING, TAKES

PAGE = (Path(__file__).parents[2] / "docs" / "backends.md").read_text(encoding="utf-8")


def table(heading):
    """Cells of the first table whose first heading is this one."""
    lines = PAGE[PAGE.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names(cell):
    return re.findall(r"`([^`]+)`", cell)


def words(cell):
    return frozenset(w.strip() for w in cell.split(",") if w.strip())


def stated(takes: Takes):
    convex = "convex quadratic, of real variables only"
    objective = convex if takes.objective == "convex" and not takes.integer_quadratic else takes.objective
    return takes.rows - {"univariate"}, takes.functions, objective


def test_what_backends_take():
    listed = set()
    for cells in table("backend"):
        for name in names(cells[0]):
            takes = EVERYTHING if name == "pyomo:" else backends.get(name).takes
            assert (words(cells[1]), words(cells[2]), cells[3]) == stated(takes), name
            listed.add(name)
    assert {"scip", "highs", "gurobi", "pyomo:"} | {f"pyomo:{n}" for n in TAKES if n != "appsi_cbc"} == listed


def test_bridges():
    pairs = [(name, tuple(names(cells[2]))) for cells in table("what may be missing") for name in names(cells[0])]
    assert sorted(pairs) == sorted((lack, needs) for lack, ways in BRIDGES.items() for needs, _ in ways)


def test_formats():
    listed = [name for cells in table("ending") for name in names(cells[0])]
    assert listed == [f".{ending}" for ending in FORMATS]
