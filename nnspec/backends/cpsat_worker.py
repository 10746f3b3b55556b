"""Runs CP-SAT in a process of its own: python -m nnspec.backends.cpsat_worker.

Reads a pickled task from stdin and prints a JSON object a line: improving solutions and bounds, at last one with "end".
The search stops when stdin is closed.
"""

from __future__ import annotations

import json
import pickle
import sys
import threading
from typing import Any


def say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


def model_of(cp: Any, task: dict[str, Any]) -> tuple[Any, list[Any]]:
    """The model and its variables."""
    model = cp.CpModel()
    v = [
        model.new_int_var_from_domain(cp.Domain.from_values(task["values"][j]), f"v{j}") if j in task["values"]
        else model.new_int_var(lo, hi, f"v{j}")
        for j, (lo, hi) in enumerate(zip(task["lo"], task["hi"]))
    ]  # fmt: skip

    def literal(number: int) -> Any:
        return v[number] if number >= 0 else ~v[-number - 1]

    for columns, factors, lo, hi, when in task["linear"]:
        row = model.add_linear_constraint(cp.LinearExpr.weighted_sum([v[j] for j in columns], factors), lo, hi)
        if when:
            row.only_enforce_if([literal(b) for b in when])
    for target, members in task["maxima"]:
        model.add_max_equality(v[target], [v[j] * a + b for a, j, b in members])
    for target, x, y in task["products"]:
        model.add_multiplication_equality(v[target], [v[x], v[y]])
    for literals in task["clauses"]:
        model.add_bool_or([literal(b) for b in literals])
    for columns, tuples in task["tables"]:
        model.add_allowed_assignments([v[j] for j in columns], tuples)
    for j, value in task["hint"]:
        model.add_hint(v[j], value)
    if task["objective"]:
        columns, factors = zip(*task["objective"].items())
        model.minimize(cp.LinearExpr.weighted_sum([v[j] for j in columns], list(factors)))
    return model, v


def main() -> None:
    task = pickle.load(sys.stdin.buffer)
    try:
        from ortools.sat.python import cp_model as cp
    except ImportError as e:
        say(end=True, failure="package", message=str(e))
        return
    model, variables = model_of(cp, task)
    solver = cp.CpSolver()
    for name, value in task["settings"].items():
        try:
            setattr(solver.parameters, name, value)
        except (AttributeError, TypeError, ValueError) as e:
            say(end=True, failure="setting", name=name, message=str(e).splitlines()[0])
            return
    bounded = bool(task["objective"])
    best = [0]

    class Listener(cp.CpSolverSolutionCallback):
        def on_solution_callback(self) -> None:
            bound = int(self.best_objective_bound) if bounded else None
            best[0] = self.num_branches
            say(x=[self.value(j) for j in variables], bound=bound, nodes=self.num_branches)

    def bound_moved(bound: float) -> None:
        say(bound=int(bound), nodes=best[0])

    def wait_for_stop() -> None:
        sys.stdin.buffer.read()
        solver.stop_search()

    if bounded:
        solver.best_bound_callback = bound_moved
    threading.Thread(target=wait_for_stop, daemon=True).start()
    status = solver.solve(model, Listener())
    if status == cp.MODEL_INVALID:
        say(end=True, failure="model", message=model.validate().strip())
        return
    found = status in (cp.OPTIMAL, cp.FEASIBLE)
    solution = {"x": [int(solver.value(j)) for j in variables]} if found else {}
    say(end=True, status=solver.status_name(status), nodes=int(solver.num_branches),
        bound=int(solver.response_proto.inner_objective_lower_bound), **solution)  # fmt: skip


if __name__ == "__main__":
    main()
