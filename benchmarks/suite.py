"""The suite: python benchmarks/suite.py [--time S] [--only TEXT] [--methods A,B] [--json FILE] [--page]

Each instance is solved by nnspec and, in the same run, by the naive model on SCIP and on Gurobi, by the reduced model
on SCIP and on Gurobi, and by globoptiml where it can run (pip install globoptiml). Every time is that of a whole
process, from start to exit, with its imports, reading the spec, building the model, local search and writing: seconds
on the clock and, in brackets, of the processor (all cores). A run counts as proven if the claimed bound is within 1e-3
of the value, relatively. A value that is off the known optimum is marked.

`--time` is the limit of each solve; nnspec itself gets more on the few instances that say so. `--long` adds instances
that take many minutes. `--page` puts the tables into docs/benchmarks.md, with the machine.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from page import machine, write_section
from suite_instances import INSTANCES, Instance

METHODS = {
    "nnspec": "nnspec solve, everything automatic",
    "nnspec scip": "nnspec solve --engine solver: reduced model on SCIP",
    "nnspec gurobi": "the reduced model on Gurobi",
    "naive scip": "the model as stated, on SCIP, no reductions, no start",
    "naive gurobi": "the model as stated, on Gurobi, no reductions, no start",
    "globoptiml": "globoptiml's own model through Pyomo",
}
ENGINES = {"nnspec scip": "solver", "nnspec cells": "cells", "nnspec boxes": "boxes"}
"""The engines alone; cells and boxes are no part of the table, but what the automatic choice is measured against."""
OURS = ("nnspec", *ENGINES)
CLOSED = 1e-3


def worker(name: str, method: str, limit: float) -> dict:
    """One solve in this process; what it claims."""
    instance = next(i for i in INSTANCES if i.name == name)
    if method == "globoptiml":
        from suite_globoptiml import solve

        return solve(instance, limit)
    from nnspec.engines.interface import Limits
    from nnspec.engines.run import solve_problem
    from nnspec.language.load import load_problem

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instance.nns"
        path.write_text(instance.spec)
        naive = method.startswith("naive")
        r = solve_problem(load_problem(path), Limits(time=limit), engine="solver", backend=method.split()[1],
                          reductions=not naive, incumbents=not naive)  # fmt: skip
    return {"status": r.status.value, "objective": r.objective, "bound": r.bound, "nodes": r.nodes}


def run(instance: Instance, method: str, limit: float) -> dict:
    """One process, and the JSON object on the last line that it prints; nnspec's own is the command itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instance.nns"
        path.write_text(instance.spec)
        if method in OURS:
            engine = ["--engine", ENGINES[method]] if method in ENGINES else []
            command = [str(Path(sys.executable).parent / "nnspec"), "solve", str(path), "--json", "--time-limit",
                       str(limit), "--out", str(Path(folder) / "out"), *engine]  # fmt: skip
        else:
            command = [sys.executable, __file__, "--one", instance.name, "--with", method, "--time", str(limit)]
        began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=2 * limit + 60)
            out, err = done.stdout, done.stderr
        except subprocess.TimeoutExpired:
            out, err = "", "did not stop at its limit"
        seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        found = json.loads(out.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        found = {"error": (err.strip().splitlines() or ["no output"])[-1][-200:]}
    kept = {k: found[k] for k in ("error", "status", "objective", "bound", "nodes", "engine", "backend") if k in found}
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return {**kept, "seconds": seconds, "cpu": cpu, "limit": limit}


def measure(instance: Instance, method: str, limit: float) -> dict:
    found = run(instance, method, max(limit, instance.seconds) if method == "nnspec" else limit)
    value, bound = found.get("objective"), found.get("bound")
    found["proven"] = value is not None and bound is not None and value - bound <= CLOSED * abs(value)
    found["right"] = instance.reproduced(value, 0.0 if method in OURS else CLOSED)
    found["wrong bound"] = bound is not None and bound > instance.optimum * (1 + CLOSED) + 1e-6
    return found


def cell(found: dict) -> str:
    if "error" in found:
        return f"not taken ({found['error'][:40]})"
    wrong = " WRONG BOUND" if found["wrong bound"] else ""
    if found["proven"]:
        off = "" if found["right"] else f" NOT THE OPTIMUM: {found['objective']:.6g}"
        return f"**{found['seconds']:.1f} s** ({found['cpu']:.1f}){off}{wrong}"
    value = "none" if found.get("objective") is None else f"{found['objective']:.5g}"
    bound = "none" if found.get("bound") is None else f"{found['bound']:.3g}"
    return f"> {found['limit']:g} s ({value}, bound {bound}){wrong}"


def ratio(other: dict, ours: dict) -> str:
    """How many times as long another took, on the clock; a lower bound where it was not finished."""
    if "error" in other or not ours["proven"]:
        return ""
    return f"{'' if other['proven'] else '> '}{other['seconds'] / ours['seconds']:.1f}"


def ratios(results: dict[str, dict[str, dict]], methods: list[str]) -> list[str]:
    """Ratios on the clock to the automatic choice, and their geometric means."""
    others = [m for m in methods if m != "nnspec"]
    lines = ["| instance | " + " | ".join(f"{m} / nnspec" for m in others) + " |", "|---" * (len(others) + 1) + "|"]
    for name, row in results.items():
        lines.append(f"| {name} | " + " | ".join(ratio(row[m], row["nnspec"]) for m in others) + " |")
    means = []
    for m in others:
        r = [row[m]["seconds"] / row["nnspec"]["seconds"] for row in results.values() if ratio(row[m], row["nnspec"])]
        means.append(f"{math.exp(sum(map(math.log, r)) / len(r)):.1f}" if r else "")
    return [*lines, "| geometric mean, limits counted as solves | " + " | ".join(means) + " |"]


def table(results: dict[str, dict[str, dict]], methods: list[str]) -> list[str]:
    lines = ["| instance | optimum | " + " | ".join(methods) + " |", "|---" * (len(methods) + 2) + "|"]
    optima = {i.name: i.optimum for i in INSTANCES}
    for name, row in results.items():
        engine = row.get("nnspec", {}).get("engine")
        cells = [cell(row[m]) + (f" {engine}" if m == "nnspec" and engine else "") for m in methods]
        lines.append(f"| {name} | {optima[name]:g} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", type=float, default=8.0, metavar="S", help="limit of each solve (8)")
    parser.add_argument("--only", default="", help="instances whose name contains this")
    parser.add_argument("--exact", help="the instance with this name")
    parser.add_argument("--methods", default=",".join(METHODS), help="some of: " + ", ".join(METHODS))
    parser.add_argument("--long", action="store_true", help="with the instances that take many minutes")
    parser.add_argument("--json", metavar="FILE", help="write every measurement")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables")
    parser.add_argument("--page", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--with", dest="method", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        print(json.dumps(worker(a.one, a.method, a.time)))
        return
    methods = a.methods.split(",")
    for m in methods:
        if m not in METHODS and m not in ENGINES:
            parser.error(f"unknown method {m!r}: choose from {', '.join([*METHODS, *ENGINES])}")
    where = f"Machine: {machine()}. Limit {a.time:g} s."
    print(where, flush=True)
    began = time.monotonic()
    results: dict[str, dict[str, dict]] = {}
    for instance in INSTANCES:
        left_out = instance.long and not (a.long or a.exact == instance.name)
        if left_out or a.only not in instance.name or a.exact not in (None, instance.name):
            continue
        results[instance.name] = {}
        for m in methods:
            found = results[instance.name][m] = measure(instance, m, a.time)
            print(f"{instance.name:28} {m:14} {cell(found)} {found.get('engine', '')}", flush=True)
    lines = [where, f"The run took {(time.monotonic() - began) / 60:.0f} minutes.", "", *table(results, methods)]
    if "nnspec" in methods and len(methods) > 1:
        lines += ["", *ratios(results, methods)]
    print("\n" + "\n".join(lines))
    if a.json:
        Path(a.json).write_text(json.dumps({"machine": machine(), "time": a.time, "results": results}, indent=1) + "\n")
    if a.markdown:
        Path(a.markdown).write_text("\n".join(lines) + "\n")
    if a.page:
        write_section("suite", "\n".join(lines))


if __name__ == "__main__":
    main()
