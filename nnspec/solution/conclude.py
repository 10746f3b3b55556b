"""Outcome -> Solution: write the networks, run what was written, and compare with what the engine said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nnspec.engines.interface import Outcome
from nnspec.formats.onnx.write import serialise
from nnspec.problem.problem import Problem
from nnspec.solution.output import OutputFolder
from nnspec.solution.recompute import Recomputed, recompute
from nnspec.solution.record import record
from nnspec.solution.solution import Solution, TrainedNetwork
from nnspec.status import Status
from nnspec.tolerances import FEASIBILITY, LOSS_MISMATCH, SINGLE_MISMATCH, proven


def file_names(problem: Problem) -> list[str]:
    """What a solve of this problem writes beside its record."""
    names = [name for name, network in problem.networks.items() if network.free]
    return [f"{name}{ending}" for name in names for ending in (".onnx", ".float32.onnx")]


def conclude(problem: Problem, outcome: Outcome, settings: dict[str, Any], output: OutputFolder | None) -> Solution:
    """The solution as its files compute it. With `output`, the files and solution.json are written there."""
    if outcome.point is None:
        solution = Solution(problem, outcome, outcome.status, None, warnings=outcome.messages)
        if output is not None:
            solution = replace(solution, files=output.write({}, record(solution, settings)))
        return solution
    networks = {
        name: TrainedNetwork(network.with_values(outcome.point.parameters) if network.free else network)
        for name, network in problem.networks.items()
    }
    trained = {name: networks[name].network for name, network in problem.networks.items() if network.free}
    about = _metadata(problem, outcome)
    double = {name: serialise(network, "float64", about) for name, network in trained.items()}
    single = {name: serialise(network, "float32", about) for name, network in trained.items()}
    variables = dict(outcome.point.variables)
    found = recompute(problem, variables, double)
    warnings: list[str] = list(outcome.messages)
    status = _status(problem, outcome, found, settings["gap"], warnings)
    objective32 = None
    if single:
        rounded = recompute(problem, variables, single)
        objective32 = rounded.objective
        _compare_single(found, rounded, warnings)
    solution = Solution(problem, outcome, status, found.objective, objective32, networks, variables, tuple(warnings))
    if output is None:
        return solution
    contents = {f"{name}.onnx": content for name, content in double.items()}
    contents |= {f"{name}.float32.onnx": content for name, content in single.items()}
    return replace(solution, files=output.write(contents, record(solution, settings)))


def _metadata(problem: Problem, outcome: Outcome) -> dict[str, str]:
    found = {"spec": problem.name, "status": str(outcome.status), "engine": outcome.engine}
    for key, value in (("objective", outcome.objective), ("bound", outcome.bound)):
        if value is not None:
            found[key] = repr(float(value))
    return found | {f"sha256 {name}": digest for name, digest in problem.hashes.items()}


def _status(problem: Problem, outcome: Outcome, found: Recomputed, wanted: float, warnings: list[str]) -> Status:
    """The engine's status if the files bear it out, else ERROR and why."""
    for violation in found.violations:
        warnings.append(f"the written files violate the {violation.what} by {violation.amount:.3g}")
    # up to ten times FEASIBILITY is what solvers' tolerances add up to when a constraint takes several rows
    if any(not v.amount <= 10 * FEASIBILITY for v in found.violations):
        return Status.ERROR
    claimed, bound, value = outcome.objective, outcome.bound, found.objective
    tolerance = LOSS_MISMATCH * max(1.0, abs(value))
    if claimed is not None and not abs(value - claimed) <= tolerance:
        warnings.append(f"the objective of the files is {value:.9g}, but the engine reports {claimed:.9g}")
    if bound is not None:
        excess = bound - value if problem.minimize else value - bound
        if excess > tolerance:
            warnings.append(f"the engine's bound {bound:.9g} contradicts the objective {value:.9g} of the files")
            return Status.ERROR
    claims_proof = outcome.status is Status.OPTIMAL and problem.objective.expression is not None
    if claims_proof and not proven(value, bound, wanted) and (bound is None or abs(value - bound) > tolerance):
        warnings.append("optimality holds for the engine's objective, not for that of the files")
        return Status.LIMIT
    return outcome.status


def _compare_single(double: Recomputed, single: Recomputed, warnings: list[str]) -> None:
    difference = abs(single.objective - double.objective)
    if not difference <= SINGLE_MISMATCH * max(1.0, abs(double.objective)):
        warnings.append(
            f"in single precision the objective is {single.objective:.9g} instead of {double.objective:.9g}: "
            "use the float64 files"
        )


def check_writable(problem: Problem, output: OutputFolder) -> None:
    """Before the solve: are all files of this problem free to be written?"""
    output.claim(file_names(problem))
