"""First incumbents on the suite: python benchmarks/incumbents.py [--seeds N] [--only TEXT] [--page]

For each instance the processor seconds of the first search that `nnspec solve` makes, starts a second of it, and by how
much its best network is off the known optimum, for several seeds. `--page` puts the table into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from page import machine, write_section
from suite_instances import INSTANCES

ALLOWED = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="instances whose name contains this")
    parser.add_argument("--page", action="store_true", help="put the table into docs/benchmarks.md")
    a = parser.parse_args()
    from nnspec.engines.run import PATIENCE_A_WEIGHT
    from nnspec.incumbents import local_search
    from nnspec.incumbents.search import _Search
    from nnspec.language.load import load_problem
    from nnspec.problem.evaluate import objective

    made = [0]
    improve = _Search.improve

    def counted(search: _Search, z: Any, *rest: object) -> None:
        made[0] += len(z)
        improve(search, z, *rest)

    _Search.improve = counted
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    say(f"Machine: {machine()}.\n")
    say("| instance | processor seconds a search | starts a second | off the optimum, by seed |\n|---|---|---|---|")
    missed = 0
    for instance in INSTANCES:
        if a.only not in instance.name:
            continue
        problem = load_problem(instance.spec)
        patience = PATIENCE_A_WEIGHT * sum(p.size for p in problem.free_parameters())
        began, off = time.process_time(), []
        made[0] = 0
        for seed in range(a.seeds):
            points = local_search(problem, seed, patience=patience)
            off.append(objective(problem, points[0]) / instance.optimum - 1)
        seconds = time.process_time() - began
        missed += sum(o > ALLOWED for o in off)
        say(f"| {instance.name} | {seconds / a.seeds:.1f} | {made[0] / seconds:.0f} | "
            f"{', '.join(f'{100 * max(o, 0):.2f} %' for o in off)} |")  # fmt: skip
    say(f"\n{missed} searches ended more than {100 * ALLOWED:g} % off.")
    if a.page:
        write_section("incumbents", "\n".join(lines))


if __name__ == "__main__":
    main()
