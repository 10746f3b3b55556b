"""Checking a written solution again: the files are what the record says, and compute what the record says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from nnspec.errors import Diagnostic, SpecError
from nnspec.language.load import load_problem
from nnspec.solution.output import RECORD, sha256
from nnspec.solution.recompute import recompute
from nnspec.tolerances import FEASIBILITY, LOSS_MISMATCH


@dataclass(frozen=True)
class Verified:
    """What was found: lines that hold, and lines that do not."""

    holds: tuple[str, ...]
    fails: tuple[str, ...]


def verify_solution(folder: Path, spec: Path | None) -> Verified:
    """Check hashes of the written files, and (with the spec) hashes of spec and data, objective and constraints."""
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        hashes, claimed = dict(record["file_hashes"]), record["objective"]
        variables, recorded = dict(record["variables"]), dict(record["hashes"])
        if record["producer"] != "nnspec":
            raise KeyError("producer")
    except OSError as error:
        raise SpecError(Diagnostic("NNS325", f"cannot read {str(path)!r}: {error.strerror}")) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SpecError(Diagnostic("NNS325", f"{str(path)!r} is not the record of a solve, or is damaged")) from None
    holds: list[str] = []
    fails: list[str] = []
    contents = {}
    for name, digest in hashes.items():
        file = folder / Path(name).name
        contents[name] = file.read_bytes() if file.is_file() else b""
        same = sha256(contents[name]) == digest
        (holds if same else fails).append(f"{name} is {'as written' if same else 'missing or changed'}")
    if spec is None or fails:
        return Verified(tuple(holds), tuple(fails))
    problem = load_problem(spec, record.get("arguments") or {})
    for digest in set(recorded.values()) - set(problem.hashes.values()):
        name = next(k for k, v in recorded.items() if v == digest)
        fails.append(f"{name} has changed since the solve")
    if fails or claimed is None:
        return Verified(tuple(holds), tuple(fails))
    holds.append("spec and data are those of the solve")
    networks = {name: contents[f"{name}.onnx"] for name, network in problem.networks.items() if network.free}
    found = recompute(problem, variables, networks)
    close = abs(found.objective - claimed) <= LOSS_MISMATCH * max(1.0, abs(claimed))
    (holds if close else fails).append(f"the files have the objective {found.objective:.9g}, recorded {claimed:.9g}")
    broken = [v for v in found.violations if v.amount > 10 * FEASIBILITY]
    fails += [f"the {v.what} is violated by {v.amount:.3g}" for v in broken]
    if not broken:
        holds.append("all ranges, budgets and constraints are respected")
    return Verified(tuple(holds), tuple(fails))
