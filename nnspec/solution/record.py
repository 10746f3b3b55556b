"""solution.json and the object of `--json`: everything about a solve that others need to check or repeat it."""

from __future__ import annotations

import math
import platform
import sys
from importlib import metadata
from typing import Any

import numpy as np

import nnspec
from nnspec.solution.solution import Solution

PACKAGES = ("numpy", "scipy", "onnx", "onnxruntime", "pyscipopt", "pyomo", "highspy", "gurobipy", "numba", "ortools")


def summary(solution: Solution) -> dict[str, Any]:
    """The result in a few keys, all of them plain JSON: infinities and missing numbers are null."""
    return {
        "status": str(solution.status),
        "objective": number(solution.objective),
        "bound": number(solution.bound),
        "gap": number(solution.gap),
        "seconds": round(solution.seconds, 3),
        "nodes": solution.outcome.nodes,
        "engine": solution.outcome.engine,
        "backend": solution.outcome.backend,
        "sense": solution.problem.objective.sense,
        "objective_claimed": number(solution.claimed),
        "objective_float32": number(solution.objective32),
        "variables": {name: number(value) for name, value in solution.variables.items()},
        "warnings": list(solution.warnings),
        "files": [str(file) for file in solution.files],
    }


def record(solution: Solution, settings: dict[str, Any]) -> dict[str, Any]:
    """The content of solution.json: the summary, the weights by layer, versions, hashes, settings and evidence."""
    problem = solution.problem
    short = {k: v for k, v in summary(solution).items() if k != "files"}
    return {
        "producer": "nnspec",
        **short,
        "spec": problem.name,
        "arguments": plain(problem.arguments),
        "hashes": dict(problem.hashes),
        "networks": {
            name: {
                layer: {tensor: plain(value) for tensor, value in tensors.items()}
                for layer, tensors in network.weights.items()
            }
            for name, network in solution.networks.items()
        },
        "settings": plain(settings),
        "versions": versions(),
        "evidence": plain(solution.outcome.evidence),
        "messages": list(solution.outcome.messages),
    }


def versions() -> dict[str, str]:
    """Versions of nnspec, Python and the packages that a result may rest on, as far as they are installed."""
    found = {"nnspec": nnspec.__version__, "python": sys.version.split()[0], "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def plain(value: Any) -> Any:
    """Any value as JSON: arrays as lists, keys as text, infinities as null, what else there is as its text."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str | int | bool | None):
        return value
    if hasattr(value, "items"):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    return str(value)
