"""Local search on the suite: python benchmarks/incumbents.py [--seeds N]

For each instance the processor seconds of the first search that `nnspec solve` makes, and by how much its best network
is off the known optimum, for several seeds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from suite_instances import INSTANCES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    from nnspec.engines.run import PATIENCE_A_WEIGHT
    from nnspec.incumbents import local_search
    from nnspec.language.load import load_problem
    from nnspec.problem.evaluate import objective

    print("| instance | processor seconds a search | off the optimum, by seed |\n|---|---|---|")
    for instance in INSTANCES:
        problem = load_problem(instance.spec)
        patience = PATIENCE_A_WEIGHT * sum(p.size for p in problem.free_parameters())
        began, off = time.process_time(), []
        for seed in range(seeds):
            points = local_search(problem, seed, patience=patience)
            off.append(objective(problem, points[0]) / instance.optimum - 1)
        seconds = (time.process_time() - began) / seeds
        print(f"| {instance.name} | {seconds:.1f} | {', '.join(f'{100 * max(o, 0):.2f} %' for o in off)} |", flush=True)


if __name__ == "__main__":
    main()
