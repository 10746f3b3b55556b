"""The boxes engine: time to proof of whole processes, and dual bounds next to general global solvers in one run.

    python benchmarks/boxes.py --table [instance ...]               about 3 minutes
    python benchmarks/boxes.py --compare [--seconds 60] [instance ...]    about 25 minutes with 60 seconds each

`--table` runs `nnspec solve --engine boxes --gap GAP` for each row as a process of its own: seconds on the clock and of
the processor, with start-up, reading, writing and checking of the networks. Compiled code is on disk, except for the
extra row "cold", which repeats the first instance with an empty cache. `--compare` gives each solver each instance in a
process of its own and prints the seconds it took to close the gap of 1e-3, or bound and value at the time limit.
Solvers that are not installed (gurobipy, maingopy) or whose licence is too small are named as such. Both print
Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from boxes_instances import Instance, instances
from boxes_solvers import GAP, SOLVERS


def process(i: Instance, gap: float, threads: int, cold: bool = False) -> dict:
    """One `nnspec solve` as a process; what it printed, with its seconds on the clock and of the processor."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instance.nns"
        path.write_text(i.spec())
        command = [str(Path(sys.executable).parent / "nnspec"), "solve", str(path), "--engine", "boxes", "--json",
                   "--gap", str(gap), "--threads", str(threads), "--out", str(Path(folder) / "out")]  # fmt: skip
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(Path(folder) / "cache")} if cold else None
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if not run.stdout.strip():
        sys.exit(run.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**json.loads(run.stdout), "seconds": seconds, "cpu": cpu}


def table(chosen: dict[str, Instance], threads: int) -> None:
    first = next(iter(chosen.values()))
    process(first, GAP, threads)  # compiles
    print("| instance | gap | at most | seconds | processor | status | value | boxes |\n" + "|---" * 8 + "|")
    rows = [(i.title, i, gap, str(f"{limit:g}"), False) for i in chosen.values() for gap, limit in i.targets]
    rows.append((f"{first.title}, cold", first, first.targets[0][0], "-", True))
    for title, i, gap, limit, cold in rows:
        r = process(i, gap, threads, cold)
        print(f"| {title} | {gap:g} | {limit} | {r['seconds']:.1f} | {r['cpu']:.1f} | {r['status']} | "
              f"{r['objective']:.6f} | {r['nodes']} |", flush=True)  # fmt: skip


def cell(name: str, solver: str, seconds: float, threads: int) -> str:
    command = [sys.executable, str(Path(__file__).resolve()), "--one", name, "--solver", solver,
               "--seconds", str(seconds), "--threads", str(threads)]  # fmt: skip
    try:
        with tempfile.TemporaryDirectory() as folder:  # MAiNGO leaves a file where it runs
            run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=4 * seconds + 120,
                                 cwd=folder)  # fmt: skip
    except subprocess.TimeoutExpired:
        return "did not stop"
    try:
        value, bound, spent = json.loads(run.stdout.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        last = (run.stderr.strip().splitlines() or [f"ended with {run.returncode}"])[-1]
        return "licence too small" if "size-limited" in last else last.split("Error: ")[-1][:60]
    shown = "none" if value is None else f"{value:.5f}"
    closed = value is not None and value - bound <= 1.01 * GAP * abs(value)
    return f"**{spent:.1f} s**" if closed else f"{bound:.3f} ({shown})"


def compare(chosen: dict[str, Instance], seconds: float, threads: int) -> None:
    process(next(iter(chosen.values())), GAP, threads)  # compiles
    print(f"Seconds to a gap of {GAP:g}, or bound (value) after {seconds:g} s.\n")
    print("| instance | " + " | ".join(SOLVERS) + " |\n|" + "---|" * (1 + len(SOLVERS)), flush=True)
    for name, i in chosen.items():
        cells = [cell(name, solver, seconds, threads) for solver in SOLVERS]
        print(f"| {i.title} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    known = instances()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("instances", nargs="*", help=f"of {', '.join(known)}; default all")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--solver", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        value, bound, spent = SOLVERS[a.solver](known[a.one], a.seconds, a.threads)
        print("\n" + json.dumps([value if abs(value) < 1e20 else None, bound, spent]))
        return
    unknown = set(a.instances) - set(known)
    if unknown:
        parser.error(f"unknown instance {sorted(unknown)[0]}")
    chosen = {name: i for name, i in known.items() if not a.instances or name in a.instances}
    print(f"{platform.machine()}, Python {platform.python_version()}, {a.threads} threads\n", flush=True)
    if a.table or not a.compare:
        table(chosen, a.threads)
    if a.compare:
        compare(chosen, a.seconds, a.threads)


if __name__ == "__main__":
    main()
