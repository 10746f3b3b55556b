"""The suite: python benchmarks/suite.py [--limit S] [--only TEXT | --exact NAME] [--methods a,b] [--markdown FILE]

Each instance is solved by nnspec and, in the same run, by the naive model on SCIP and on Gurobi, by the reduced model
on Gurobi and by globoptiml where it can run (pip install globoptiml). Every time is that of a whole process, from start
to exit, with its imports, reading the spec, building the model, local search and writing: seconds on the clock and, in
brackets, of the processor (all cores), which depend less on what else the machine does. A run counts as proven if the
claimed bound is within 1e-3 of the value, relatively: what solvers with their default tolerances can promise for small
sums of squares. A value that is off the known optimum is marked.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from suite_instances import INSTANCES, Instance

METHODS = {
    "nnspec": "nnspec solve, everything automatic",
    "nnspec scip": "nnspec solve --engine solver: reduced model on SCIP",
    "nnspec gurobi": "the reduced model on Gurobi",
    "naive scip": "the model as stated, on SCIP, no reductions, no start",
    "naive gurobi": "the model as stated, on Gurobi, no reductions, no start",
    "globoptiml": "globoptiml's own model through Pyomo",
}
CLOSED = 1e-3


def worker(name: str, method: str, limit: float) -> dict:
    """One solve in this process; what it claims."""
    instance = next(i for i in INSTANCES if i.name == name)
    if method == "globoptiml":
        from suite_globoptiml import solve

        return solve(instance, limit)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instance.nns"
        path.write_text(instance.spec)
        if method in ("nnspec", "nnspec scip"):
            engine = ["--engine", "solver"] if method == "nnspec scip" else []
            run = subprocess.run(
                [str(Path(sys.executable).parent / "nnspec"), "solve", str(path), "--json", "--time-limit", str(limit),
                 "--out", str(Path(folder) / "out"), *engine],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if not run.stdout.strip():
                return {"error": run.stderr.strip()[-300:]}
            found = json.loads(run.stdout)
            return {k: found.get(k) for k in ("status", "objective", "bound", "engine", "nodes")}
        from nnspec.engines.interface import Limits
        from nnspec.engines.run import solve_problem
        from nnspec.language.load import load_problem

        naive = method.startswith("naive")
        r = solve_problem(load_problem(path), Limits(time=limit), engine="solver", backend=method.split()[1],
                          reductions=not naive, incumbents=not naive)  # fmt: skip
        return {"status": r.status.value, "objective": r.objective, "bound": r.bound, "nodes": r.nodes}


def measure(instance: Instance, method: str, limit: float) -> dict:
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run([sys.executable, __file__, "--one", instance.name, "--with", method, "--limit", str(limit)],
                         capture_output=True, text=True, check=False)  # fmt: skip
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        found = json.loads(run.stdout.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        found = {"error": (run.stderr.strip().splitlines() or ["no output"])[-1][-200:]}
    found["seconds"] = seconds
    found["cpu"] = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    value, bound = found.get("objective"), found.get("bound")
    found["proven"] = value is not None and bound is not None and value - bound <= CLOSED * abs(value)
    found["right"] = value is not None and value <= instance.optimum + 1.01 * 10.0**-instance.digits
    return found


def cell(found: dict, limit: float) -> str:
    if "error" in found:
        return f"failed ({found['error'][:60]})"
    if found["proven"]:
        wrong = "" if found["right"] else f" WRONG {found['objective']:.5g}"
        return f"{found['seconds']:.1f} s ({found['cpu']:.1f}){wrong}"
    value = "none" if found.get("objective") is None else f"{found['objective']:.5g}"
    bound = "none" if found.get("bound") is None else f"{found['bound']:.3g}"
    return f"> {limit:g} s ({value}, bound {bound})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=60.0)
    parser.add_argument("--only", default="", help="instances whose name contains this")
    parser.add_argument("--exact", help="the instance with this name")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--markdown")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--with", dest="method", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        print(json.dumps(worker(a.one, a.method, a.limit)))
        return
    methods = a.methods.split(",")
    lines = ["| instance | optimum | " + " | ".join(methods) + " | naive scip / nnspec scip (processor) |",
             "|---" * (len(methods) + 3) + "|"]  # fmt: skip
    print(f"{platform.machine()}, Python {platform.python_version()}, limit {a.limit:g} s", flush=True)
    for instance in INSTANCES:
        if a.only not in instance.name or a.exact not in (None, instance.name):
            continue
        results = {m: measure(instance, m, a.limit) for m in methods}
        ratio = ""
        if "naive scip" in results and results.get("nnspec scip", {}).get("proven"):
            more = "" if results["naive scip"]["proven"] else "> "
            ratio = f"{more}{results['naive scip']['cpu'] / results['nnspec scip']['cpu']:.0f}"
        cells = [cell(results[m], a.limit) for m in methods]
        lines.append(f"| {instance.name} | {instance.optimum:g} | " + " | ".join(cells) + f" | {ratio} |")
        print(lines[-1], flush=True)
    if a.markdown:
        Path(a.markdown).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
