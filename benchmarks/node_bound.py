"""What the neuron-separable dual bound in SCIP's nodes brings: the same problems with it and without, in one run.

    python benchmarks/node_bound.py [--seconds 30] [instance ...]       about 5 minutes

Problems that the boxes engine does not take: one hidden tanh layer on 12 points of the plane, decay .05 on all weights
and biases, with constraints on the network's outputs. Processor seconds (SCIP's limit counts them too), nodes, and the
bound where the gap of 1e-3 was not closed. Compiled code is on disk.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from boxes_instances import Instance, teacher

from nnspec.engines.interface import Limits
from nnspec.engines.solver.engine import SolverEngine
from nnspec.language.load import load_problem

GAP = 1e-3
CONSTRAINTS = {
    "cap": "constraint f(1, 0) <= 0.4", "monotone": "constraint f(1, 1) <= f(-1, -1)",
    "point": "constraint f(0, 0) == 0.3",
    "variable": "var s in 0..1\nconstraint f(s, 0) >= 0.9",
}  # fmt: skip


def solve(spec: str, with_bound: bool, seconds: float) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instance.nns"
        path.write_text(spec)
        problem = load_problem(path)
    engine = SolverEngine("scip", options={"timing/clocktype": 1}, node_bound=with_bound)
    began = time.process_time()
    o = engine.solve(problem, Limits(time=seconds, gap=GAP))
    used = time.process_time() - began
    if o.objective is None or o.bound is None:
        return f"{o.status.value}, {used:.1f} s"
    closed = o.objective - o.bound <= 1.01 * GAP * abs(o.objective)
    shown = f"**{used:.1f} s**" if closed else f"{o.bound:.3f} ({o.objective:.4f}) after {used:.0f} s"
    return f"{shown}, {o.nodes} nodes"


def _spec(constraint: str, hidden: int) -> str:
    return Instance("", *teacher(12), hidden, "tanh", 0.05, 3.0, ()).spec() + CONSTRAINTS[constraint] + "\n"


def main() -> None:
    names = [f"{c}-{h}" for h in (1, 2) for c in CONSTRAINTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("instances", nargs="*", help=f"of {', '.join(names)}; default all")
    parser.add_argument("--seconds", type=float, default=30.0)
    a = parser.parse_args()
    solve(_spec("cap", 1), True, 1.0)  # compiles
    print("| constraint | neurons | SCIP | SCIP with the bound |\n|---|---|---|---|", flush=True)
    for name in a.instances or names:
        constraint, hidden = name.split("-")
        cells = [solve(_spec(constraint, int(hidden)), with_bound, a.seconds) for with_bound in (False, True)]
        print(f"| `{CONSTRAINTS[constraint].splitlines()[-1]}` | {hidden} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
