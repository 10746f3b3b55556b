"""HiGHS and SCIP on the mixed-integer linear programs that reductions leave of losses that are piecewise linear.

    python benchmarks/milp.py [SAMPLES [SECONDS]]

Each case of each instance is solved from the same cut-off, the best network of a local search; CPU seconds of all cases
together, one thread, and whether all were closed to 1e-4 within the limit for each case.
"""

from __future__ import annotations

import sys
import time

from suite_instances import teacher

from nnspec import load
from nnspec.engines.interface import Limits, Status
from nnspec.engines.solver import SolverEngine
from nnspec.incumbents import local_search
from nnspec.problem.evaluate import objective
from nnspec.problem.problem import Problem
from nnspec.reductions import reduce

LOSSES = ("sae(f, D)", "max_error(f, D)", "hinge(f, D)", "mae(f, D) + 0.02 * l0(f)")


def spec(samples: int, loss: str) -> Problem:
    x, y = teacher(samples)
    target = (y > 0.2).astype(int) if "hinge" in loss else y
    return load(
        f"data D = table(x = {x.tolist()}, y = {target.tolist()})\n"
        "net f = input(2) -> h: dense(2, relu) -> out: dense(1)\n"
        f"  with weights in -5..5, biases in -5..5\nminimize {loss}\n"
    )


def main() -> None:
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    for loss in LOSSES:
        p = spec(samples, loss)
        best = objective(p, local_search(p, 0, starts=100)[0])
        line = f"{loss:26} N={samples} {best:.5f} "
        for backend in ("scip", "highs"):
            began, closed, cases = time.process_time(), 0, reduce(p, best).cases
            for case in cases:
                limits = Limits(time=seconds, gap=1e-4, threads=1, cutoff=best * (1 - 5e-5))
                status = SolverEngine(backend).solve(case.problem, limits).status
                closed += status in (Status.OPTIMAL, Status.INFEASIBLE)
            line += f"  {backend} {time.process_time() - began:7.2f} s, {closed} of {len(cases)} closed"
        print(line, flush=True)


if __name__ == "__main__":
    main()
