"""Which ReLU template for trained networks, and how nnspec compares with its peers, in one run.

    python benchmarks/encodings_relu.py [--only TEXT] [--contestants a,b] [--limit 120] [SCIP=VALUE ...]

Each network of `relu_networks.py` is minimised over a box by each contestant: `embed:TEMPLATE` is nnspec.embed in a
model of PySCIPOpt, `solve:TEMPLATE` the command `nnspec solve` on a spec (`solve:highs/TEMPLATE` on another backend),
`pyscipopt-ml:sos`, `pyscipopt-ml:bigm`, `omlt:bigm`, `omlt:complementarity`, `omlt:partition` are packages of others;
TEMPLATE `default` leaves the choice to nnspec. What is not installed is skipped with a line that says so
(pip install --target DIR --no-deps pyscipopt-ml omlt, and --peers DIR).

Times are processor seconds of whole processes, imports, building and writing included; the limit counts them too.
With each result stands the time, processor and clock, of the first incumbent within 1 % of the best value of the row.
Values are recomputed by a forward pass from the inputs that a contestant returns. Options SCIP=VALUE are settings of
SCIP for all contestants but `solve`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from relu_networks import INSTANCES, Instance, forward, prepare

from nnspec.encodings.registry import names

CONTESTANTS = ("solve:default", "embed:default", "pyscipopt-ml:sos", "pyscipopt-ml:bigm", "omlt:bigm",
               "omlt:complementarity", "omlt:partition")  # fmt: skip
PACKAGES = {"pyscipopt-ml": "pyscipopt_ml", "omlt": "omlt"}
CLOSED = 1e-4
TICKS = os.sysconf("SC_CLK_TCK")


def processor(pid: int) -> float:
    """Processor seconds of a running process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(folder: Path, contestant: str, limit: float, options: list[str]) -> dict[str, Any]:
    """One contestant in a process of its own: {cpu, wall, incumbents: [(cpu, wall, value)], status, bound, x ...}."""
    script = Path(__file__).with_name("relu_contestants.py")
    # by the clock the solver may take long on a loaded machine; the processor's limit is kept below
    command = [sys.executable, str(script), str(folder), contestant, str(20 * limit), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    incumbents: list[tuple[float, float, float]] = []
    last: dict[str, Any] = {}
    complaints: list[str] = []

    def listen() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            if not line.startswith("{"):
                continue
            found = json.loads(line)
            value = found.get("objective")  # of incumbents on the way, and of the end
            if value is not None and (not incumbents or value < incumbents[-1][2]):
                incumbents.append((processor(child.pid), time.monotonic() - began, value))
            if "status" in found:
                last.update(found)

    def complain() -> None:
        assert child.stderr is not None
        complaints.extend(child.stderr)

    threads = [threading.Thread(target=f) for f in (listen, complain)]
    for thread in threads:
        thread.start()
    asked = False
    while True:
        pid, _, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        used = processor(child.pid)
        if used > limit and not asked:
            child.send_signal(signal.SIGINT)  # everybody ends with the best so far
            asked = True
        elif used > limit + 20:
            child.kill()
        time.sleep(0.05)
    wall = time.monotonic() - began
    for thread in threads:
        thread.join()
    found = {**last, "cpu": usage.ru_utime + usage.ru_stime, "wall": wall, "incumbents": incumbents}
    if "status" not in found:
        found["error"] = (complaints or ["no output"])[-1].strip()[-200:]
    return found


def settle(found: dict[str, Any], ws: list[np.ndarray], bs: list[np.ndarray]) -> None:
    """The value that its inputs really have, and whether the claim is proven."""
    x = found.get("x")
    if x is None and found.get("variables"):
        x = [found["variables"][f"x[{i}]"] for i in range(ws[0].shape[1])]
    found["real"] = None if x is None else float(forward(ws, bs, np.clip([x], -1, 1))[0])
    value, bound = found["real"], found.get("bound")
    found["proven"] = value is not None and bound is not None and value - bound <= CLOSED * max(1.0, abs(value))


def near(found: dict[str, Any], best: float) -> str:
    """When an incumbent came within 1 % of the best value."""
    for cpu, wall, value in found["incumbents"]:
        if value <= best + 0.01 * abs(best):
            return f"1 % at {cpu:.1f} ({wall:.1f})"
    return "never within 1 %"


def cell(found: dict[str, Any], best: float, limit: float) -> str:
    if "error" in found:
        return f"failed: {found['error'][:70]}"
    if found["real"] is not None and found.get("bound") is not None and best < found["bound"] - CLOSED * abs(best):
        return f"WRONG bound {found['bound']:.6g}, known {best:.6g}"
    if found["proven"]:
        return f"{found['cpu']:.1f}, {near(found, best)}"
    bound = found.get("bound")
    value = "none" if found["real"] is None else f"{found['real']:.4f}"
    return f"> {limit:g} ({value}, bound {'none' if bound is None else f'{bound:.2f}'}), {near(found, best)}"


def row(instance: Instance, contestants: list[str], limit: float, options: list[str]) -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ws, bs = prepare(instance, folder)
        results = {}
        for contestant in contestants:
            found = measure(folder, contestant, limit, options)
            settle(found, ws, bs)
            results[contestant] = found
            print(f"  {instance.name:26} {contestant:22} {cell(found, found['real'] or math.nan, limit)}", flush=True)
        return results


def present(contestants: list[str]) -> list[str]:
    """Those that can run here; says which cannot."""
    kept = []
    for c in contestants:
        package = PACKAGES.get(c.partition(":")[0])
        if package and importlib.util.find_spec(package) is None:
            print(f"{c} is left out: {package} is not installed (see --help)")
        else:
            kept.append(c)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("options", nargs="*", metavar="SCIP=VALUE")
    parser.add_argument("--only", default="", help="networks whose name contains one of these (comma)")
    parser.add_argument("--contestants", default=",".join(CONTESTANTS))
    parser.add_argument("--templates", action="store_true", help="all templates of nnspec by embed, besides")
    parser.add_argument("--limit", type=float, default=120.0, help="processor seconds")
    parser.add_argument("--peers", help="folder with packages of others")
    parser.add_argument("--markdown", help="append the table to this file")
    a = parser.parse_args()
    if a.peers:
        sys.path.append(a.peers)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), a.peers]))
    wanted = a.contestants.split(",") + ([f"embed:{t}" for t in names("relu")] if a.templates else [])
    contestants = present(list(dict.fromkeys(wanted)))
    print(f"{platform.machine()}, Python {platform.python_version()}, limit {a.limit:g} processor seconds", flush=True)
    lines = ["| network | best | " + " | ".join(contestants) + " |", "|---" * (len(contestants) + 2) + "|"]
    for instance in INSTANCES:
        if not any(part in instance.name for part in a.only.split(",")):
            continue
        results = row(instance, contestants, a.limit, a.options)
        best = min((f["real"] for f in results.values() if f["real"] is not None), default=math.nan)
        cells = [cell(f, best, a.limit) for f in results.values()]
        lines.append(f"| {instance.name} | {best:.6g} | " + " | ".join(cells) + " |")
    print("\n".join(lines))
    if a.markdown:
        with open(a.markdown, "a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
