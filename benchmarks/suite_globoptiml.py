"""An instance as globoptiml models it (big-M ReLU and products through Pyomo), solved by the SCIP that Pyomo finds.

globoptiml itself calls an executable (couenne by default); its model is built by its own `fit` and then handed to
Pyomo's `scip_direct`, so that it runs where only Python packages are installed.
"""

from __future__ import annotations

import contextlib
import io

from suite_instances import Instance

BIG_M = 100.0  # globoptiml wants one from the user; weights in -5..5 on inputs in -1..1 need 15


def solve(instance: Instance, limit: float) -> dict:
    from nnspec.language.load import load_problem
    from nnspec.problem import expression as ex

    problem = load_problem(instance.spec)
    e = problem.objective.expression
    layers = problem.networks["f"].layers
    if not (isinstance(e, ex.Loss) and e.kind == "sse") or any(x.l0 is not None for x in layers):
        return {"error": "only plain sums of squares are set up"}
    if problem.networks["f"]["h"].activation.kind != "relu":
        return {"error": "only relu is set up"}
    import optiml
    from optiml.losses import SSELoss
    from pyomo.contrib.solver.common.factory import SolverFactory

    hidden = problem.networks["f"]["h"]
    box = (float(hidden.weights.lo.min()), float(hidden.weights.hi.max()))
    data = problem.data["D"]
    model = optiml.Sequential(optiml.Linear(data.x.shape[1], hidden.size), optiml.ReLU(M=BIG_M),
                              optiml.Linear(hidden.size, 1))  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
        model.fit(data.x, data.y, loss=SSELoss(), solver="none", weight_bounds=box, tee=False, verbose=False)
    r = SolverFactory("scip_direct").solve(
        model._solver_model.model, time_limit=limit, rel_gap=1e-6, raise_exception_on_nonoptimal_result=False,
        load_solutions=False,
    )  # fmt: skip
    return {"status": str(r.termination_condition), "objective": r.incumbent_objective, "bound": r.objective_bound}
