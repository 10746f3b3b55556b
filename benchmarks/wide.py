"""What the convex program over all activation patterns gives on the instances with weight decay.

    python benchmarks/wide.py

Prints the program's bound, the optimum that a whole process of nnspec reports, and that process's CPU and wall seconds.
"""

from __future__ import annotations

import math
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from suite_instances import INSTANCES

from nnspec import load
from nnspec.reductions import reduce

WIDER = ("plane N=12 H=3 decay", "dense(3", "dense(6", "plane N=12 H=6 decay")


def main() -> None:
    specs = {i.name: i.spec for i in INSTANCES if "decay" in i.name}
    old, three, six, name = WIDER
    specs[name] = specs[old].replace(three, six)
    print(f"{'instance':28} {'bound':>10} {'objective':>10} {'status':>8} {'CPU':>7} {'wall':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in specs.items():
            spec = Path(folder) / "spec.nns"
            spec.write_text(text)
            bound = min(c.lower for c in reduce(load(str(spec))).cases)
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            command = [sys.executable, "-m", "nnspec", "solve", str(spec), "--engine", "solver", "--time-limit", "120"]
            ended = subprocess.run([*command, "--out", f"{folder}/out", "--force"], capture_output=True, text=True)
            wall = time.monotonic() - began
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            found = re.search(r"objective ([-\d.e]+)", ended.stdout)
            value = float(found.group(1)) if found else math.nan
            status = "proven" if ended.returncode == 0 else f"exit {ended.returncode}"
            print(f"{name:28} {bound:10.6f} {value:10.6f} {status:>8} {cpu:7.2f} {wall:7.2f}", flush=True)


if __name__ == "__main__":
    main()
