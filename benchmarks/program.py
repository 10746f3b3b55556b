"""What the Program costs: 100,000 linear rows on 50,000 variables to SCIP, against direct PySCIPOpt calls.

Both sides get the same arrays (five coefficients a row) and end with a PySCIPOpt model that has all rows. Target: at
most 1.3 times the CPU time. Direct calls are measured in the two ways people write them: `quicksum` over products, and
`addCoefLinear` on empty rows, which is the fastest way PySCIPOpt has.

    python benchmarks/program.py [rows] [columns]
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pyscipopt import Model, quicksum
from pyscipopt.scip import Expr, ExprCons

from nnspec.backends.scip_model import build
from nnspec.program import Affine, Program

TERMS = 5  # a row


def arrays(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """indptr, columns and values of the rows, and their right sides."""
    rng = np.random.default_rng(0)
    where = np.sort(rng.integers(0, columns, (rows, TERMS)), axis=1).reshape(-1)
    return np.arange(0, rows * TERMS + 1, TERMS), where, rng.normal(size=rows * TERMS), rng.random(rows) + 1.0


def quicksums(columns: int, data: tuple[np.ndarray, ...]) -> Any:
    ends, where, values, right = (a.tolist() for a in data)
    model = Model()
    x = [model.addVar(f"x{j}", lb=-1.0, ub=1.0) for j in range(columns)]
    for k, b in enumerate(right):
        model.addCons(quicksum(values[t] * x[where[t]] for t in range(ends[k], ends[k + 1])) <= b)
    return model


def coefficients(columns: int, data: tuple[np.ndarray, ...]) -> Any:
    ends, where, values, right = (a.tolist() for a in data)
    model = Model()
    x = [model.addVar(f"x{j}", lb=-1.0, ub=1.0) for j in range(columns)]
    empty = Expr({})
    for k, b in enumerate(right):
        row = model.addCons(ExprCons(empty, rhs=b))
        for t in range(ends[k], ends[k + 1]):
            model.addCoefLinear(row, x[where[t]], values[t])
    return model


def program(columns: int, data: tuple[np.ndarray, ...]) -> Any:
    ends, where, values, right = data
    p = Program("benchmark")
    p.add_variables("x", (columns,), -1.0, 1.0)
    p.add_linear(Affine.csr(ends, where, values), hi=right, name="row")
    return build(p)[0]


def program_by_matrix(columns: int, data: tuple[np.ndarray, ...]) -> Any:
    """As encodings write it: expressions of variables, added and scaled."""
    _, where, values, right = data
    p = Program("benchmark")
    x = p.add_variables("x", (columns,), -1.0, 1.0)
    terms = x[where.reshape(-1, TERMS)] * values.reshape(-1, TERMS)
    p.add_linear(terms.sum(axis=1), hi=right, name="row")
    return build(p)[0]


def seconds(work: Callable[..., Any], *arguments: Any) -> float:
    gc.collect()
    begun = time.process_time()
    model = work(*arguments)
    spent = time.process_time() - begun
    assert model.getNConss() == len(arguments[1][3])
    del model
    return spent


def main(rows: int = 100_000, columns: int = 50_000, rounds: int = 5) -> None:
    data = arrays(rows, columns)
    ways = {
        "direct, quicksum": quicksums, "direct, addCoefLinear": coefficients, "Program, from arrays": program,
        "Program, from expressions": program_by_matrix,
    }  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):  # in turn, so that a change of the machine's load meets all
        for name, work in ways.items():
            times[name].append(seconds(work, columns, data))
    medians = {name: statistics.median(t) for name, t in times.items()}
    print(f"{rows} rows, {columns} columns, {TERMS} coefficients a row; CPU seconds, median of {rounds}")
    for name, t in medians.items():
        to_sum, to_fast = (t / medians[f"direct, {w}"] for w in ("quicksum", "addCoefLinear"))
        print(f"{name:28} {t:6.2f}   {to_sum:4.2f} x quicksum   {to_fast:4.2f} x addCoefLinear")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
