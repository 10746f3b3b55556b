"""Finite weights: python benchmarks/finite.py [--limit S] [--only TEXT] [--backends cpsat,scip,gurobi] [--page]

Each instance is solved by `nnspec solve --engine solver --backend NAME` in the same run. Times are whole processes,
seconds on the clock and, in brackets, of the processor (all cores); all backends get the same first incumbents.
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
from finite_instances import INSTANCES
from page import machine, write_section


def measure(spec: str, backend: str, limit: float) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "instance.nns")
        path.write_text(spec)
        began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        run = subprocess.run(
            [str(Path(sys.executable).parent / "nnspec"), "solve", str(path), "--json", "--engine", "solver",
             "--backend", backend, "--time-limit", str(limit), "--out", str(Path(folder, "out"))],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    found = json.loads(run.stdout) if run.stdout.strip() else {"status": "failed", "message": run.stderr[-200:]}
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return {**found, "seconds": seconds, "cpu": cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=20.0)
    parser.add_argument("--only", default="", help="instances whose name contains this")
    parser.add_argument("--backends", default="cpsat,scip,gurobi")
    parser.add_argument("--page", action="store_true", help="put the table into docs/benchmarks.md")
    a = parser.parse_args()
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    say(f"Machine: {machine()}. Limit {a.limit:g} s.\n")
    backends = a.backends.split(",")
    say("| instance | optimum | " + " | ".join(backends) + " |\n" + "|---" * (len(backends) + 2) + "|")
    ratios: dict[str, list[float]] = {b: [] for b in backends[1:]}
    for name, spec in INSTANCES.items():
        if a.only not in name:
            continue
        found = {b: measure(spec, b, a.limit) for b in backends}
        values = [r["objective"] for r in found.values() if r["status"] == "optimal"]
        agreed = bool(values) and max(values) - min(values) <= 1e-5 * (1 + abs(min(values)))
        cells = []
        for r in found.values():
            if r["status"] == "failed":
                cells.append("not taken")
            elif r["status"] == "optimal":
                cells.append(f"{r['seconds']:.1f} s ({r['cpu']:.1f})")
            else:
                cells.append(f"> {a.limit:g} s ({r.get('objective')}, bound {r.get('bound')}, {r['status']})")
        first = found[backends[0]]
        for b in backends[1:]:
            if found[b]["status"] != "failed" and first["status"] == "optimal":
                ratios[b].append(found[b]["cpu"] / first["cpu"])
        value = f"{min(values):g}" if agreed else "DISAGREE" if values else "-"
        say(f"| {name} | {value} | " + " | ".join(cells) + " |")
    say("\nGeometric means of processor time, where unfinished solves count as solved at the limit:")
    for b, r in ratios.items():
        if r:
            mean = math.exp(sum(map(math.log, r)) / len(r))
            say(f"{b} / {backends[0]} over {len(r)} instances: {mean:.2f}.")
    if a.page:
        write_section("finite", "\n".join(lines))


if __name__ == "__main__":
    main()
