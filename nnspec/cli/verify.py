"""nnspec verify: the files of a solve, or an engine's proof, checked again by separate and simpler code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nnspec.cli import options
from nnspec.cli.main import EXIT_SPEC

if TYPE_CHECKING:
    from pathlib import Path

    from nnspec.problem.problem import Problem
    from nnspec.solution.verify import Verified


@click.command("verify")
@click.argument("path", metavar="FILE|DIR")
@click.option("--spec", metavar="SPEC", help="The spec that was solved.")
@options.parameters
@options.json_flag
def command(path: str, spec: str | None, definitions: tuple[str, ...], params: str | None, as_json: bool) -> int:
    """Check the folder of a solve, or a proof that an engine wrote (solve --certificate).

    With --spec also that it belongs to this spec: the objective and all constraints of a folder are recomputed from its
    files, the data in a proof are compared. Exit status 0 if everything holds, else 1.
    """
    from pathlib import Path

    from nnspec.solution.output import RECORD
    from nnspec.solution.verify import verify_solution

    place = Path(path)
    if place.is_dir() or place.name == RECORD:
        folder = place if place.is_dir() else place.parent
        found = verify_solution(folder, None if spec is None else Path(spec))
    else:
        found = _proof(place, None if spec is None else options.load(spec, definitions, params))
    if as_json:
        options.echo_json({"ok": not found.fails, "holds": list(found.holds), "fails": list(found.fails)})
    else:
        for line in found.holds:
            click.echo(f"holds  {line}")
        for line in found.fails:
            click.echo(f"FAILS  {line}")
    return EXIT_SPEC if found.fails else 0


def _proof(path: Path, problem: Problem | None) -> Verified:
    """A certificate of an engine; which one's, the first bytes say."""
    try:
        with path.open("rb") as file:
            magic = file.read(2)
    except OSError as error:
        raise options.usage(f"cannot read {str(path)!r}: {error.strerror}") from None
    if magic == b"PK":
        return _boxes_proof(path, problem)
    if magic == b"\x1f\x8b":
        return _cells_proof(path, problem)
    raise options.usage(f"{str(path)!r} is neither the folder of a solve nor a proof that an engine wrote")


def _boxes_proof(path: Path, problem: Problem | None) -> Verified:
    from nnspec.engines.boxes.verify import verify
    from nnspec.solution.verify import Verified

    report = verify(path, problem)
    if not report.valid:
        return Verified((), (f"the proof: {report.reason}",))
    lines = [f"objective {report.objective:.9g} of the solution inside, recomputed",
             f"bound {report.bound:.9g}, proven by {report.boxes:,} boxes that cover the domain"]  # fmt: skip
    return Verified((*lines, *([_ABOUT_SPEC] if report.against_problem else [])), ())


def _cells_proof(path: Path, problem: Problem | None) -> Verified:
    from nnspec.engines.cells.verify import EvidenceError, verify
    from nnspec.solution.verify import Verified

    try:
        report = verify(path)
    except EvidenceError as error:
        return Verified((), (f"the proof: {error}",))
    lines = [f"objective {report.objective:.9g} of the network inside, recomputed in exact arithmetic",
             f"bound {report.bound:.9g}, proven by {report.certificates:,} certificates, {report.nodes:,} nodes",
             f"this speaks of hidden weights times output weight up to {report.reach:.3g}"]  # fmt: skip
    if problem is None:
        return Verified(tuple(lines), ())
    differs = _cells_difference(path, problem)
    if differs:
        return Verified(tuple(lines), (f"it is no proof about this spec: {differs}",))
    return Verified((*lines, _ABOUT_SPEC), ())


_ABOUT_SPEC = "it is a proof about this spec"


def _cells_difference(path: Path, problem: Problem) -> str | None:
    """What distinguishes the problem inside a cells proof from that of the spec."""
    import gzip
    import json

    import numpy as np

    from nnspec.engines.cells.evidence import Writer
    from nnspec.engines.cells.model import recognise
    from nnspec.engines.cells.normal import normalise

    cells = recognise(problem)
    if isinstance(cells, str):
        return cells
    content = json.loads(gzip.decompress(path.read_bytes()))
    try:
        writer = Writer(cells, normalise(cells), content["reach"], 0)
    except ValueError as error:
        return str(error)
    wanted = {
        "x": writer.x.tolist(), "y": cells.y.tolist(), "weights": cells.weights.tolist(), "neurons": cells.neurons,
        "slopes": list(writer.slopes), "output_bias": writer.has_bias, "box": writer.boxes,
        "c_box": [None if np.isinf(b) else float(b) for b in (cells.c_lo, cells.c_hi)],
    }  # fmt: skip
    inside = content["problem"]
    words = {"x": "inputs", "y": "targets", "box": "ranges of weights", "c_box": "range of the output bias"}
    different = [words.get(k, k.replace("_", " ")) for k, v in wanted.items() if inside[k] != v]
    different += [k for k in ("scale", "offset") if content[k] != getattr(cells, k)]
    return f"{', '.join(different)} differ" if different else None
